"""Answers drawn from a causal language model."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch

from sympo import ranges
from sympo.models.causal import Policy
from sympo.ranges import Count, Positive, Range
from sympo.types import Encoded, Vocabulary


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn.

    prompts: how many prompts are answered, once each; temperature, top_p: of the distribution;
    max_new_tokens: longest answer; batch_size: prompts that are answered at a time.
    """

    prompts: Count = 1024
    temperature: Positive = 0.7
    top_p: Annotated[float, Range(above=0, most=1)] = 0.95
    max_new_tokens: Count = 512
    batch_size: Count = 64

    def __post_init__(self) -> None:
        ranges.check(self)

    @property
    def exact(self) -> bool:
        """Whether these are draws from the model's own distribution."""
        return self.temperature == 1 and self.top_p == 1


@dataclass(frozen=True)
class Answers:
    """One answer per prompt; ids: n integer arrays, closed by the end of sequence where the model
    ended them; truncated: (n,) bool, True where the longest length ended them."""

    ids: Sequence[np.ndarray]
    truncated: np.ndarray

    @classmethod
    def up_to(cls, eos: int, generated: Sequence[np.ndarray]) -> "Answers":
        """What a model wrote, up to and with its first end of sequence."""
        ends = [np.flatnonzero(ids == eos) for ids in generated]
        ids = [
            own[: end[0] + 1] if len(end) else own for own, end in zip(generated, ends, strict=True)
        ]
        return cls(ids, np.array([len(end) == 0 for end in ends], bool))

    def after(self, prompts: Sequence[np.ndarray]) -> Encoded:
        """The answers behind their prompts, to be scored."""
        ids = [np.concatenate(both) for both in zip(prompts, self.ids, strict=True)]
        return Encoded(ids, np.array([len(prompt) for prompt in prompts]))

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])


class Sampler(ABC):
    """What draws answers; which one does cannot change their distribution."""

    @abstractmethod
    def check(self, device: str) -> None:
        """Raise BadInput where it cannot work for a policy on this device."""

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
        **distribution: float,
    ) -> Answers:
        """Answer every prompt once.

        distribution: temperature and top_p, in place of those of `sampling`.
        """
        sampling = replace(sampling, **distribution)  # type: ignore[arg-type]
        found = self._generate(policy, prompts, vocabulary, sampling, seed)
        return Answers.up_to(vocabulary.eos, found)

    @abstractmethod
    def _generate(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
    ) -> list[np.ndarray]:
        """What the model writes after each prompt: to the end of sequence, beyond which there may
        be padding, or to the longest length."""


class Transformers(Sampler):
    """`transformers`' generation by the policy itself, in batches of similar length; draws depend
    on the seed and the batches."""

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
