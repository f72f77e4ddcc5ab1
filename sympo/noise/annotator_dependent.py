"""Noise of annotators of different ability."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo import ranges, seeding
from sympo.noise.abilities import group_rates
from sympo.noise.flips import check_rate
from sympo.protocols.data import NoiseModel
from sympo.ranges import Count
from sympo.types import BadInput, NoiseCase, PreferencePairs


@dataclass(frozen=True)
class AnnotatorDependent(NoiseModel):
    """Each pair flips at the rate of its annotator: some are careful, some almost guess.

    rate_i = sigmoid(-ability of the annotator of i / s), never above 1/2, with exponential
    abilities, drawn from the seed. s makes the mean rate equal to `noise`: over the annotators if
    they are assigned at random, over the given pairs if the data names them. Assigned at random,
    the expected risk is that of symmetric noise, by the argument of Lemma 1: only annotators who
    see different pairs make the noise instance-dependent.

    annotators: their number, each pair assigned to one of them at random; None reads them from the
        data (`dataset.annotator=COLUMN`), and raises BadInput if it names fewer than two.
    Source: Dawid and Skene (1979); the form of the rates is that of Whitehill et al. (2009).
    """

    identity: ClassVar[str] = "annotator_dependent"

    annotators: Count | None = 10

    def __post_init__(self) -> None:
        ranges.check(self)

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        check_rate(noise)
        if self.annotators is None:
            return group_rates(noise, _named(pairs), seed, "annotator ability")
        drawn = seeding.uniform(seed, "annotator", pairs.ids) * self.annotators
        return self._rates(noise, self.annotators, seed)[drawn.astype(np.int64)]

    def cases(self, noise: float, pairs: PreferencePairs, seed: int) -> Sequence[NoiseCase]:
        """Every annotator with the probability of being assigned."""
        check_rate(noise)
        if self.annotators is None:
            return super().cases(noise, pairs, seed)
        every = np.ones(len(pairs))
        return [
            NoiseCase(every / self.annotators, rate * every)
            for rate in self._rates(noise, self.annotators, seed)
        ]

    def _rates(self, noise: float, annotators: int, seed: int) -> np.ndarray:
        """The rate of each annotator; (annotators,)."""
        return group_rates(noise, np.arange(annotators, dtype=np.uint64), seed, "annotator ability")


def _named(pairs: PreferencePairs) -> np.ndarray:
    if pairs.annotator is None:
        raise BadInput(
            "noise_model.annotators=null needs the annotator of each pair, which this data set "
            "does not have; give a number of annotators, or dataset.annotator=COLUMN with "
            "dataset=preferences"
        )
    if len(pairs) and len(np.unique(pairs.annotator)) < 2:
        raise BadInput(
            "noise_model.annotators=null needs at least two annotators, and one labelled all pairs"
        )
    return pairs.annotator
