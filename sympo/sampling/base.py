"""What samplers share: one response per prompt, cut at the end of sequence."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sympo.models.texts.policies import Policy
from sympo.sampling.responses import Responses
from sympo.sampling.settings import Sampling
from sympo.types import Vocabulary


class BaseSampler(ABC):
    """Draws responses from a policy; every sampler draws from the same distribution."""

    @property
    def stacks(self) -> bool:
        """Whether `sample_stacked` makes its draws for policies that are trained together."""
        return False

    @property
    def shares(self) -> bool:
        """Whether several processes can draw its responses together."""
        return False

    @abstractmethod
    def check(self, device: str) -> None:
        """Raise BadInput if it cannot sample from a policy on this device."""

    def note(self, device: str, prompts: int, sampling: Sampling) -> str:
        """One line about an unusual way of sampling so many responses; empty by default."""
        return ""

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Responses:
        """One response per prompt; temperature and top_p override those of `sampling`."""
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        if top_p is not None:
            sampling = replace(sampling, top_p=top_p)
        found = self._generate(policy, prompts, vocabulary, sampling, seed)
        return Responses.up_to(vocabulary.eos, found)

    @abstractmethod
    def _generate(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
    ) -> list[np.ndarray]:
        """The new tokens after each prompt, up to the end of sequence (padding may follow it) or
        the longest length."""
