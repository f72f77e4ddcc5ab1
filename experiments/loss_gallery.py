"""Plot every loss in conf/loss, families of losses, and conditional minimisers; list properties.

python -m experiments.loss_gallery [--out results/loss_gallery]
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sympo.evaluation.conditional_risk import conditional_minimisers
from sympo.losses import MarginLoss

CONF = Path(__file__).parents[1] / "conf" / "loss"
ASSUMED_RATE = 0.2
# of each family, the settings to draw
FAMILIES = {
    "sloped_ramp": [
        {"slope": 1.0, "offset": 0.0},
        {"slope": 4.0, "offset": 0.0},
        {"slope": 2.0, "offset": 0.5},
        {"slope": 2.0, "offset": -0.5},
    ],
    "tempered_sigmoid": [{"temperature": t} for t in (0.25, 0.5, 1.0, 2.0)],
    "gce": [{"q": q} for q in (0.1, 0.4, 0.7, 1.0)],
    "holder_dpo": [{"gamma": gamma} for gamma in (0.5, 1.0, 2.0, 4.0)],
}
KINDS = ("Symmetric", "Bounded, not symmetric", "Unbounded, not symmetric")
# two CPE losses, two symmetric ones
MINIMISED = ("logistic", "square", "ramp", "sigmoid")


def losses() -> dict[str, MarginLoss]:
    """Every loss with a YAML file, by its label in the gallery."""
    gallery = {}
    for path in sorted(CONF.glob("*.yaml")):
        config = OmegaConf.create({"assumed_rate": ASSUMED_RATE, "loss": OmegaConf.load(path)})
        suffix = f" (assumed_rate={ASSUMED_RATE})" if "assumed_rate" in config.loss else ""
        gallery[path.stem + suffix] = instantiate(config.loss)
    return gallery


def families() -> dict[str, MarginLoss]:
    """The losses of each family at the settings drawn, by label."""
    found = {}
    for name, variants in FAMILIES.items():
        config = OmegaConf.load(CONF / f"{name}.yaml")
        for settings in variants:
            label = ", ".join(f"{key}={value:g}" for key, value in settings.items())
            found[f"{name} ({label})"] = instantiate(config, **settings)
    return found


def kind(loss: MarginLoss) -> str:
    """The row of the gallery that a loss is drawn in."""
    symmetric, bounded, unbounded = KINDS
    if loss.properties.symmetric:
        return symmetric
    return bounded if loss.properties.bounded else unbounded


def of_arrays(loss: MarginLoss) -> Callable[[np.ndarray], np.ndarray]:
    def values(z: np.ndarray) -> np.ndarray:
        found: np.ndarray = loss(torch.from_numpy(z)).numpy()
        return found

    return values


def curves(gallery: dict[str, MarginLoss], groups: list[str]) -> pd.DataFrame:
    """Columns loss, z, value = l(z), sum = l(z) + l(-z) and group, for z in -4, -3.95, ..., 4."""
    z = np.linspace(-4, 4, 161).round(2)
    tables = []
    for (label, loss), group in zip(gallery.items(), groups, strict=True):
        value = of_arrays(loss)
        columns = {"z": z, "value": value(z), "sum": value(z) + value(-z)}
        tables.append(pd.DataFrame({"loss": label, **columns, "group": group}))
    return pd.concat(tables)


def properties(gallery: dict[str, MarginLoss]) -> pd.DataFrame:
    """One row per loss; `constant` is empty if the loss is not symmetric."""
    return pd.DataFrame(
        {"loss": label, **dataclasses.asdict(loss.properties)} for label, loss in gallery.items()
    )


def minimisers(gallery: dict[str, MarginLoss]) -> pd.DataFrame:
    """Columns loss, eta, least, greatest: the minimisers of the conditional risk within +-4."""
    eta = np.linspace(0.05, 0.95, 91).round(2)
    z = np.linspace(-4, 4, 8001).round(3)
    tables = []
    for label in MINIMISED:
        least, greatest = conditional_minimisers(of_arrays(gallery[label]), z, eta).T
        tables.append(
            pd.DataFrame({"loss": label, "eta": eta, "least": least, "greatest": greatest})
        )
    return pd.concat(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/loss_gallery"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    gallery, variants = losses(), families()
    tables = {
        "curves": curves(gallery, [kind(loss) for loss in gallery.values()]).sort_values(
            "group", key=lambda group: group.map(KINDS.index), kind="stable"
        ),
        "family_curves": curves(variants, [label.split(" (")[0] for label in variants]),
        "properties": properties(gallery | variants),
        "conditional_minimisers": minimisers(gallery),
    }
    for name, table in tables.items():
        table.to_csv(out / f"{name}.csv", index=False)

    # imported here, so that the CSV files are written without matplotlib
    from sympo.analysis import conditional_minimiser_plot, loss_gallery, save_figure

    figures = {
        "loss_gallery": loss_gallery(tables["curves"]),
        "loss_families": loss_gallery(tables["family_curves"]),
        "no_symmetric_loss_is_cpe": conditional_minimiser_plot(tables["conditional_minimisers"]),
    }
    for name, figure in figures.items():
        save_figure(figure, out / name)
    files = [*(f"{name}.csv" for name in tables), *(f"{name}.png and .pdf" for name in figures)]
    print(f"wrote to {out}: {', '.join(files)}")


if __name__ == "__main__":
    main()
