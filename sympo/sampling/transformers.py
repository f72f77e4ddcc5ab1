"""Sampling by `transformers`' own generation."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from sympo.models.texts.policies import Policy
from sympo.sampling.base import BaseSampler
from sympo.sampling.settings import Sampling
from sympo.types import Vocabulary


class Transformers(BaseSampler):
    """Generates with the policy itself, in batches of similar length; draws depend on the seed and
    on the batches."""

    identity: ClassVar[str] = "transformers"
    outside_identity: ClassVar[frozenset[str]] = frozenset()

    @property
    def stacks(self) -> bool:
        return type(self) is Transformers  # a subclass may draw otherwise

    def check(self, device: str) -> None:
        pass

    def _generate(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
    ) -> list[np.ndarray]:
        device = policy.device
        order = np.argsort([len(prompt) for prompt in prompts], kind="stable")
        found: list[np.ndarray] = [np.empty(0, np.int64)] * len(prompts)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for start in range(0, len(order), sampling.batch_size):
                batch = order[start : start + sampling.batch_size]
                width = max(len(prompts[i]) for i in batch)
                ids = np.full((len(batch), width), vocabulary.pad, np.int64)
                for row, i in enumerate(batch):
                    ids[row, width - len(prompts[i]) :] = prompts[i]
                mask = np.arange(width) >= width - np.array([[len(prompts[i])] for i in batch])
                out = policy.generate(
                    torch.from_numpy(ids).to(device),
                    torch.from_numpy(mask.astype(np.int64)).to(device),
                    do_sample=True,
                    temperature=float(sampling.temperature),
                    top_p=float(sampling.top_p),
                    top_k=0,
                    max_new_tokens=sampling.max_new_tokens,
                    eos_token_id=vocabulary.eos,
                    pad_token_id=vocabulary.pad,
                )
                for i, answer in zip(batch, out[:, width:].cpu().numpy(), strict=True):
                    found[i] = answer
        return found
