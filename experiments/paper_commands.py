"""The commands of an experiment of the catalogue, and what it needs that is not there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from experiments.catalogue import Experiment
from experiments.committed_results import ROOT
from experiments.results_page import RESULTS
from experiments.settings import CONF


@dataclass(frozen=True)
class Options:
    """Which size to run, where its data is, and where results go."""

    size: str
    data: Path
    results_dir: Path

    @property
    def folder(self) -> Path:
        """The folder of the experiments' results; only the full size is committed."""
        return self.results_dir if self.size == "full" else self.results_dir / self.size


def missing(entry: Experiment, options: Options) -> str:
    """Why an experiment cannot run; empty if it can."""
    if options.size not in (sizes := entry.sizes):
        return f"it has no size={options.size} (only {', '.join(sizes)})"
    for data in entry.data:
        if not (options.data / data.needed).exists():
            return f"needs the data {data.needed.as_posix()}, which is not in {options.data}"
    if entry.packages and (names := entry.packages.missing()):
        extra = entry.packages.extra
        return f"needs the package {names[0]}: pip install -e '.[{extra}]'"
    if entry.gpu and options.size == "full" and not _gpu():
        medium = "; size=medium needs none" if "medium" in sizes else ""
        return f"needs a GPU{medium}"
    return ""


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def commands(entry: Experiment, options: Options) -> Iterator[list[str]]:
    """The commands after `python`; one is made when those before it have ended."""
    out = options.folder / entry.name
    if entry.preset != "":
        yield from _sweeps(entry, options, out)
    for program in entry.programs:
        yield ["-m", program, "--out", _shown(out)]


def _sweeps(entry: Experiment, options: Options, out: Path) -> Iterator[list[str]]:
    results = [] if options.results_dir == RESULTS else [f"results_dir={options.results_dir}"]
    judge = ""
    if entry.judge and options.size == "full":  # its training would take longer than a small sweep
        yield ["run.py", *entry.judge, *results]
        judge = str(_run_folder([*entry.judge, *results]))
    preset = [f"experiment={entry.preset or entry.name}"]
    preset += [f"size={options.size}"] * (options.size != "full")
    preset += [f"{one.setting}={(options.data / one.path).resolve()}" for one in entry.data]
    for overrides in entry.passes:
        given = [one.replace("=RUN/", f"={judge}/") for one in overrides]
        if given != [*overrides] and not judge:
            continue
        yield ["run.py", "-m", *preset, *given, *results, f"report_dir={_shown(out)}"]


def _shown(path: Path) -> str:
    """A path as commands in the checkout name it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _run_folder(overrides: Sequence[str]) -> Path:
    """The folder of the cell with these overrides."""
    from experiments.cells import prepare

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", list(overrides), return_hydra_config=True)
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return prepare(task, config.hydra.runtime.choices).folder.path
