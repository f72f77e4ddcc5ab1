"""Work that one process does as several do together."""

import numpy as np
import torch
from torch.distributed.device_mesh import init_device_mesh

from sympo.distributed import draw_sharded, processes
from sympo.losses import DrDPO
from sympo.models.texts.policies import Policy
from sympo.models.texts.sharded_policies import ShardedPolicy
from tests.training.made_pairs import TINY, VOCABULARY, make_rows, trainer

__all__ = ["PROMPTS", "VOCABULARY", "divided_policy", "gradients", "policy"]

_draw = np.random.default_rng(5)
# eleven prompts in batches of four: the last one is not full
PROMPTS = [_draw.integers(0, 10, _draw.integers(2, 7)) for _ in range(11)]


def policy() -> Policy:
    return Policy(TINY.build(VOCABULARY, 0))


def divided_policy(precision: str) -> Policy:
    """The same policy, its weights divided among the processes of the group."""
    mesh = init_device_mesh("cpu", (processes.size(),))
    model = draw_sharded(lambda: TINY.build(VOCABULARY, 0), mesh, precision)  # type: ignore[arg-type]
    return ShardedPolicy(model, precision, 64)


def gradients(tokens: int = 10_000) -> torch.Tensor:
    """The float64 gradient of one step of Dr. DPO after clipping, and the loss, flat."""
    own = trainer(make_rows(), DrDPO(temperature=0.05), tokens=tokens, max_grad_norm=0.01)
    own.scorer.model.double()
    own.optimizer.parameters = list(own.scorer.model.parameters())
    found: list[torch.Tensor] = []

    def keep(divisor: float) -> None:
        clipped = own.optimizer._divisor(divisor)
        flat = [p.grad.flatten() / clipped for p in own.optimizer.parameters if p.grad is not None]
        found.append(torch.cat(flat))

    own.optimizer.step = keep  # type: ignore[method-assign]
    loss = own.step(np.arange(13))
    return torch.cat([*found, torch.tensor([loss], dtype=torch.float64)])
