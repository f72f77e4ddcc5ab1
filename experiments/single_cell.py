"""How a single cell ends: its folder, its figures and its samples by name."""

from pathlib import Path
from typing import Any

from experiments.tracked import print_offline
from sympo.pipelines.result import RunResult
from sympo.types import printable

# every job's curves of its headline metric, and the panel of policies
_CURVES, _PANEL = "_vs_epochs", "training_panel"


def show_cell(outcome: RunResult, config: Any) -> None:
    """Print where a cell's results are, and draw its curves; a failed cell has named its log.

    config: the composed config, whose `figures` says whether to draw.
    """
    if outcome.status == "failed":
        return
    folder = outcome.folder
    print(f"\nfolder:  {printable(str(folder))}")
    figures = draw_curves(folder) if config.figures else []
    for name, files in (("figures", figures), ("samples", sorted(folder.glob("samples/*.jsonl")))):
        if files:
            print(f"{name}: {', '.join(printable(str(file)) for file in files)}")
    print_offline([folder], Path(config.results_dir))


def draw_curves(folder: Path) -> list[Path]:
    """Draw the headline metric of a run along training, and a policy's panel, to `figures/`."""
    from sympo.analysis import Collection
    from sympo.analysis.figures import FIGURES

    collection = Collection.from_runs([folder])
    place = folder / "figures"
    curves = [spec for spec in FIGURES if spec.name.endswith(_CURVES)]
    drawn: list[Path] = []
    for spec in (*curves, *(spec for spec in FIGURES if spec.name == _PANEL)):
        if drawn and spec in curves:  # the others are in the report of a sweep
            continue
        estimates = spec.estimate(collection)
        if len(estimates):
            place.mkdir(exist_ok=True)
            drawn.append(place / f"{spec.name}.png")
            spec.draw(estimates).savefig(drawn[-1])
    return drawn
