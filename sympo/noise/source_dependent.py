"""Noise that depends on where a pair comes from."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sympo.noise.abilities import group_rates
from sympo.noise.flips import check_rate
from sympo.protocols.data import NoiseModel
from sympo.types import BadInput, PreferencePairs


@dataclass(frozen=True)
class SourceDependent(NoiseModel):
    """Each pair flips at the rate of its source: some domains are labelled well, some badly.

    rate_i = sigmoid(-quality of the source of i / s), never above 1/2, with exponential qualities,
    drawn from the seed; s makes the mean rate over the given pairs equal to `noise`, so draw the
    flips of a whole data set, then take subsets. The source is `PreferencePairs.source`: the
    subset of HH, the topic of gold_language, the class of a pair's better image, or
    `dataset.source=COLUMN`.

    Raises BadInput if the pairs have no source, or all the same.
    """

    identity: ClassVar[str] = "source_dependent"

    def rates(self, noise: float, pairs: PreferencePairs, seed: int) -> np.ndarray:
        check_rate(noise)
        if pairs.source is None:
            raise BadInput(
                "noise_model=source_dependent needs the source of each pair, which this data set "
                "does not have; use dataset=hh, gold_language or images, or dataset=preferences "
                "with dataset.source=COLUMN"
            )
        if len(pairs) and len(np.unique(pairs.source)) < 2:
            raise BadInput(
                "noise_model=source_dependent needs at least two sources, and all pairs come from "
                "one"
            )
        return group_rates(noise, pairs.source, seed, "source quality")
