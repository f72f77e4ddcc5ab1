"""Sampling by several processes, each of which draws its rows of every batch.

`torch.multinomial` draws a token as argmax_v p_v / q_v with q_v ~ Exp(1). Every process draws the q
of the whole batch and uses its own rows, and a batch ends once all responses have ended. So the
draws are those of one process, but for rounding.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sympo.distributed import processes
from sympo.models.texts.policies import Policy
from sympo.sampling.padding import by_length, padded
from sympo.sampling.settings import Sampling
from sympo.types import Vocabulary


def draw_divided(
    policy: Policy,
    prompts: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    sampling: Sampling,
    seed: int,
) -> list[np.ndarray]:
    """New tokens after each prompt; what follows an end of sequence means nothing."""
    device = policy.device
    generator = torch.Generator(device).manual_seed(seed)
    own: list[tuple[int, np.ndarray]] = []
    for batch in by_length(prompts, sampling.batch_size):
        share = processes.share(np.arange(len(batch)))
        # a process without rows draws one for nothing, to end with the others
        rows = share if len(share) else np.array([0])
        ids, mask = padded([prompts[i] for i in batch[rows]], vocabulary.pad)
        out = policy.generate(
            torch.from_numpy(ids).to(device),
            torch.from_numpy(mask).to(device),
            choose=_Choice(generator, len(batch), rows, sampling),
            ends=_AllEnded(vocabulary.eos),
            do_sample=False,
            max_new_tokens=sampling.max_new_tokens,
            pad_token_id=vocabulary.pad,
        )
        answers = out[: len(share), ids.shape[1] :].cpu().numpy()
        own += zip(batch[share].tolist(), answers, strict=True)
    found = dict(pair for part in processes.gathered(own) for pair in part)
    return [found[i] for i in range(len(prompts))]


class _Choice:
    """Scores whose largest is a draw of the next token, for `rows` of a batch of `size`."""

    def __init__(
        self, generator: torch.Generator, size: int, rows: np.ndarray, sampling: Sampling
    ) -> None:
        from transformers import LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

        self.generator, self.size = generator, size
        self.rows = torch.from_numpy(rows).to(generator.device)
        self.warpers: list[LogitsProcessor] = []
        if sampling.temperature != 1:
            self.warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_p < 1:
            self.warpers.append(TopPLogitsWarper(float(sampling.top_p)))

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        for warper in self.warpers:
            scores = warper(ids, scores)
        noise = torch.empty(self.size, scores.shape[-1], device=scores.device)
        noise.exponential_(generator=self.generator)
        return torch.softmax(scores, -1) / noise[self.rows]


class _AllEnded:
    """Ends a batch once the responses of all processes have ended."""

    def __init__(self, eos: int) -> None:
        self.eos = eos
        self.ended: Tensor | None = None

    def __call__(self, ids: Tensor, scores: object, **_: object) -> Tensor:
        now = ids[:, -1] == self.eos
        self.ended = ended = now if self.ended is None else now | self.ended
        open_ = (~ended).any().int()
        dist.all_reduce(open_, dist.ReduceOp.MAX)
        done: Tensor = open_ == 0
        return done.expand(len(ids))
