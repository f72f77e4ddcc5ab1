"""Lemma 1 on one fixed reward model: exact risks under asymmetric noise and at its symmetric mean.

python -m experiments.lemma1_risk [--out results/lemma1]

Trains a reward model on clean labels of the embedded digits, and writes `risk.csv`: for every loss
in conf/loss and three pairs of flip rates, the expected risk of that model on its training pairs,
over all flips and presentation orders. With random orders both risks are equal; with orders that
follow the gap they are not.
"""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

import sympo
from experiments.loss_gallery import losses
from sympo.evaluation.risk import expected_risk
from sympo.noise.asymmetric import Presentation
from sympo.types import PreferencePairs

# flip rates of presented labels +1 and -1
RATES = ((0.1, 0.5), (0.0, 0.4), (0.2, 0.4))
EPOCHS = 20
SEED = 0


def trained() -> tuple[PreferencePairs, np.ndarray]:
    """The training pairs of the digits, and the gaps r(first) - r(second) of a trained model."""
    digits = sympo.Digits()
    found = sympo.train_reward_model(digits, "logistic", epochs=EPOCHS, seed=SEED)
    rewards = found.rewards("train").astype(np.float64)
    return digits.draw(SEED).train, rewards[:, 0] - rewards[:, 1]


def risks(pairs: PreferencePairs, gap: np.ndarray) -> pd.DataFrame:
    """One row per loss, pair of rates and presentation, with both risks and their difference."""
    rows = []
    for label, loss in losses().items():
        for presentation in get_args(Presentation):
            for positive, negative in RATES:
                noise = (positive + negative) / 2
                asymmetric = sympo.Asymmetric((positive - negative) / (2 * noise), presentation)
                one, other = (
                    expected_risk(loss, gap, pairs, model, noise, SEED)
                    for model in (asymmetric, sympo.Symmetric())
                )
                rows.append(
                    {
                        "loss": label,
                        "symmetric_loss": loss.properties.symmetric,
                        "presentation": presentation,
                        "rate_of_positive": positive,
                        "rate_of_negative": negative,
                        "asymmetric_risk": one,
                        "symmetric_risk": other,
                        "difference": one - other,
                    }
                )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/lemma1"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    table = risks(*trained())
    table.to_csv(out / "risk.csv", index=False)
    for presentation, rows in table.groupby("presentation", sort=False):
        largest = rows["difference"].abs().max()
        print(f"presentation={presentation}: the risks differ by {largest:.2g} at most")
    print(f"wrote {out / 'risk.csv'}")


if __name__ == "__main__":
    main()
