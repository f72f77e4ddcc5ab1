"""The exact expected risk of fixed margins under label noise."""

from collections.abc import Callable

import numpy as np
import torch

from sympo.protocols.data import NoiseModel
from sympo.types import PreferencePairs

# l(z) of each margin, (n,) -> (n,)
PairLoss = Callable[[torch.Tensor], torch.Tensor]


def expected_risk(
    loss: PairLoss,
    gap: np.ndarray,
    pairs: PreferencePairs,
    model: NoiseModel,
    noise: float,
    seed: int,
) -> float:
    """The mean loss over all flips, and over all else that the noise model may draw for a pair.

        R = n^-1 sum_i sum_c p_ic [(1 - e_ic) l(y_i g_i) + e_ic l(-y_i g_i)]

    with the cases c of `NoiseModel.cases`, their probabilities p and their flip rates e. Swapping a
    pair changes y and g alike, so that a case which is a presentation order has the same margin.

    gap: (n,), g = r(first) - r(second) of one fixed reward function. A loss is averaged over the
    pairs, whatever its `reduce` does in training.
    """
    margin = torch.from_numpy(np.asarray(gap * pairs.label, dtype=np.float64))
    kept, flipped = loss(margin).numpy(), loss(-margin).numpy()
    risk = sum(
        case.probability * ((1 - case.rates) * kept + case.rates * flipped)
        for case in model.cases(noise, pairs, seed)
    )
    return float(np.mean(risk))


def sampled_risk(loss: PairLoss, gap: np.ndarray, noisy_label: np.ndarray) -> float:
    """The mean loss on one draw of the labels, of which `expected_risk` is the expectation.

    gap, noisy_label: (n,).
    """
    margin = torch.from_numpy(np.asarray(gap * noisy_label, dtype=np.float64))
    return float(loss(margin).mean())
