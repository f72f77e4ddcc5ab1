"""The W&B run of one cell: its curves, its reported metrics, its samples."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sympo.identity import NAME
from sympo.metrics import EPOCHS
from sympo.runs.folder import RunFolder
from sympo.runs.names import short_name
from sympo.tracking.mode import resolve_mode
from sympo.tracking.samples import samples_table
from sympo.tracking.session import Session

# a metric that only policies record; it comes with all others of the training panel
RECORDED_BY_POLICIES = "test/logp_chosen"
# settings of the program, not of the cell
_NOT_OF_CELLS = (
    "wandb", "progress", "report_dir", "results_dir", "figures", "paper_values", "force", "dry_run",
    "allow_external_targets",
)  # fmt: skip


class Tracker:
    """One W&B run for one cell.

    Its id is derived from the folder's name, so that a cell that runs again, after a kill or by
    force, replaces its earlier run.

    settings: `mode`, `project`, `entity` and `group`, as in `conf/config.yaml`.
    config: the cell's resolved config, whose `figures` says whether to draw a policy's panel.
    """

    def __init__(
        self, folder: RunFolder, settings: Mapping[str, Any], config: Mapping[str, Any]
    ) -> None:
        self._folder, name = folder, folder.name
        self._draws: bool = config["figures"]
        relative = "/".join(folder.path.absolute().parts[-5:])
        differs = config.get("progress", {}).get("differs")
        self._session = Session(
            resolve_mode(settings["mode"]),
            folder.path,
            relative,
            project=settings["project"],
            entity=settings["entity"],
            group=settings["group"],
            job_type=name.job,
            name=short_name(name, differs),
            tags=[name.dataset, name.loss, name.noise_model],
            config={**tracked_config(folder, config), "folder": relative},
        )

    def log(self, epoch: float, metrics: Mapping[str, float | None]) -> None:
        """Mirror one evaluation."""
        known = {key: value for key, value in metrics.items() if value is not None}
        self._session.log({"epoch": epoch, **known})

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """End the run: finished if the cell has a summary, failed if it has none."""
        if summary is not None and self._session.active:
            self._describe(summary)
        self._session.finish(failed=summary is None)

    def _describe(self, summary: Mapping[str, Any]) -> None:
        """Add what a complete run folder holds beyond its curves."""
        folder, session = self._folder.path, self._session
        with session.harmless():
            made = ("git_commit", "device", "versions", "trained_together")
            session.update(config={key: summary[key] for key in made if key in summary})
            session.update(summary=reported(summary) | _judged(folder))
            last = float(summary["last"]["epoch"])
            if (table := samples_table(folder, summary)) is not None:
                session.log_table("samples", *table, epoch=last)
            if self._draws and RECORDED_BY_POLICIES in summary["last"]:
                self._log_panel(last)

    def _log_panel(self, epoch: float) -> None:
        """Draw the curves of a policy."""
        from sympo.analysis import Collection
        from sympo.analysis.training_panel import training_estimates, training_panel

        estimates = training_estimates(Collection.from_runs([self._folder.path]))
        with tempfile.TemporaryDirectory() as place:
            file = Path(place) / "training_panel.png"
            training_panel(estimates).savefig(file, dpi=100)
            self._session.log_image("training_panel", file, epoch=epoch)


def tracked_config(folder: RunFolder, config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a W&B run: the chosen options by group, and under `settings` the composed
    config."""
    name = folder.name
    options = {
        "job": name.job,
        "dataset": name.dataset,
        "loss": name.loss,
        "noise_model": name.noise_model,
        "model": name.model,
        "protocol": name.protocol,
        "filter": _option(folder, "filter"),
    }
    kept = {key: value for key, value in config.items() if key not in _NOT_OF_CELLS}
    return {
        **options,
        "noise": name.noise,
        "seed": name.seed,
        "hash": folder.hash,
        "settings": kept,
    }


def _option(folder: RunFolder, group: str) -> str:
    settings = folder.identity.settings.get(group) or {}
    return str(settings.get(NAME, "none"))


def reported(summary: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the last and of the selected epoch, called as in `cells.csv`."""
    return {
        f"{which}/{name}": value
        for which in EPOCHS
        for name, value in summary[which].items()
        if value is not None
    }


def _judged(folder: Path) -> dict[str, float]:
    """The metrics of every judge of a run, called as in `cells.csv`."""
    if not (folder / "judges").is_dir():
        return {}
    from sympo.analysis.judged_files import JudgedFiles  # imports pandas

    files = JudgedFiles()
    files.read(str(folder), 0)
    metrics, _ = files.gathered([""])
    return {str(name): column[0].item() for name, column in metrics.items() if column.notna()[0]}
