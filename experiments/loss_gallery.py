"""Plot every loss in conf/loss and list its properties.

python -m experiments.loss_gallery [--out results/loss_gallery]
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sympo.losses import MarginLoss

CONF = Path(__file__).parents[1] / "conf" / "loss"
ASSUMED_RATE = 0.2


def losses() -> dict[str, MarginLoss]:
    """Every loss with a YAML file, by its label in the gallery."""
    gallery = {}
    for path in sorted(CONF.glob("*.yaml")):
        config = OmegaConf.create({"assumed_rate": ASSUMED_RATE, "loss": OmegaConf.load(path)})
        suffix = f" (assumed_rate={ASSUMED_RATE})" if "assumed_rate" in config.loss else ""
        gallery[path.stem + suffix] = instantiate(config.loss)
    return gallery


def curves(gallery: dict[str, MarginLoss]) -> pd.DataFrame:
    """Columns loss, z, value = l(z) and sum = l(z) + l(-z), for z in -4, -3.95, ..., 4."""
    z = np.linspace(-4, 4, 161).round(2)

    def value(loss: MarginLoss, margins: np.ndarray) -> np.ndarray:
        return loss(torch.from_numpy(margins)).numpy()

    return pd.concat(
        pd.DataFrame(
            {
                "loss": label,
                "z": z,
                "value": value(loss, z),
                "sum": value(loss, z) + value(loss, -z),
            }
        )
        for label, loss in gallery.items()
    )


def properties(gallery: dict[str, MarginLoss]) -> pd.DataFrame:
    """One row per loss; `constant` is empty if the loss is not symmetric."""
    return pd.DataFrame(
        {"loss": label, **dataclasses.asdict(loss.properties)} for label, loss in gallery.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/loss_gallery"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    gallery = losses()
    table = curves(gallery)
    table.to_csv(out / "curves.csv", index=False)
    properties(gallery).to_csv(out / "properties.csv", index=False)

    # imported here, so that the CSV files are written without matplotlib
    from sympo.analysis import loss_gallery, save_figure

    save_figure(loss_gallery(table), out / "loss_gallery")
    print(f"wrote {out}/curves.csv, properties.csv, loss_gallery.png and loss_gallery.pdf")


if __name__ == "__main__":
    main()
