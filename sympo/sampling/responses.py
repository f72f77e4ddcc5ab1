"""Responses of a policy as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sympo.types import Encoded


@dataclass(frozen=True)
class Responses:
    """One sampled response per prompt; n responses.

    ids: n integer arrays, each closed by the end of sequence if the model produced one.
    truncated: (n,) bool, True if the response was cut off at the longest length instead.
    """

    ids: Sequence[np.ndarray]
    truncated: np.ndarray

    @classmethod
    def up_to(cls, eos: int, generated: Sequence[np.ndarray]) -> "Responses":
        """Generated tokens up to and including the first end of sequence."""
        ends = [np.flatnonzero(ids == eos) for ids in generated]
        ids = [
            own[: end[0] + 1] if len(end) else own for own, end in zip(generated, ends, strict=True)
        ]
        return cls(ids, np.array([len(end) == 0 for end in ends], bool))

    def after(self, prompts: Sequence[np.ndarray]) -> Encoded:
        """The responses appended to their prompts, ready to be scored."""
        ids = [np.concatenate(both) for both in zip(prompts, self.ids, strict=True)]
        return Encoded(ids, np.array([len(prompt) for prompt in prompts]))

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids])
