"""A runnable cell: its parts, its folder and its recorded config."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sympo.identity import identity_of, part_identity
from sympo.runs.folder import RunFolder
from sympo.runs.names import CORRECTED, CellName
from sympo.types import BadInput, within

# the settings that a cell's hash covers
IDENTITY = ("job", "dataset", "loss", "noise_model", "model", "noise", "seed")
STARTED = time.time()
# draws kept in memory, so that the losses and rates of a seed share one
DRAWS = 64


@dataclass(frozen=True)
class Cell:
    """A runnable cell: its name and folder, its parts, and its resolved config.

    contents: fingerprints of the files behind data set and model; None for a part without files.
    filter: cleans the training pairs; None to train on all of them as labelled.
    judge: judges the responses that the job leaves; None to skip judging. judge_name: its option.
    """

    name: CellName
    folder: RunFolder
    config: dict[str, Any]
    contents: dict[str, str | None]
    device: str
    job: Any
    dataset: Any
    loss: Any
    noise_model: Any
    model: Any
    sampler: Any
    filter: Any = None
    judge: Any = None
    judge_name: str = ""

    @property
    def distributed(self) -> bool:
        """Whether it is trained by a group of processes together."""
        return bool(self.config["distributed"] != "none")

    @property
    def divided(self) -> bool:
        """Whether the processes divide the weights of its models among them."""
        return bool(self.config["distributed"] == "fsdp")

    @property
    def since(self) -> float:
        """Results older than this are made again. With force, it is the start of the sweep, so that
        each cell is made once even if several processes share the sweep."""
        return (self.config["progress"]["started"] or STARTED) if self.config["force"] else 0.0


def assemble(
    config: dict[str, Any],
    options: Mapping[str, str],
    parts: Mapping[str, Any],
    settings: Mapping[str, Any],
    judge: Any = None,
    judge_name: str = "",
) -> Cell:
    """Assemble built parts into a checked cell; raises BadInput, in one sentence, if it cannot run.

    config: the settings to record, with parts as mappings that have a `_target_`. options: the
        option name of each part. parts: `job`, `dataset`, `loss`, `noise_model`, `model`,
        `sampler`, `filter`. settings: what the identity is made of, with parts as in config, or as
        objects, whose classes need no Python path.
    """
    device = resolve_device(str(config["device"]))
    job, dataset, model = (parts[key] for key in ("job", "dataset", "model"))
    with within("dataset"), failures(f"dataset={options['dataset']}"):
        dataset.check()
    named = {key: str(options[key]) for key in ("job", "dataset", "loss", "noise_model", "model")}
    name = CellName(
        **named,
        noise=float(config["noise"]),
        seed=config["seed"],
        protocol=str(options.get("protocol", CORRECTED)),
    )
    with within("model"):
        # image networks start from random weights
        content = None if model.reads == "images" else fingerprint(model)
    with failures(f"dataset={options['dataset']}"):
        data = fingerprint(dataset)
    contents = {"dataset": data, "model": content, "job": job.content()}
    hashed = {key: settings[key] for key in IDENTITY}
    if parts["filter"] is not None:
        hashed["filter"] = settings["filter"]
        named["filter"] = str(options["filter"])
    identity = identity_of(hashed, named, contents)
    sampler = part_identity(settings["sampler"]) if job.leaves_samples else None
    folder = RunFolder(config["results_dir"], name, identity, sampler)
    cell = Cell(name, folder, config, contents, device, **parts, judge=judge, judge_name=judge_name)
    job.check(cell)
    return cell


class Same:
    """A part as the key of a cache: equal only to itself, since the files behind two equal parts
    may differ."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.part is other.part

    def __hash__(self) -> int:
        return id(self.part)


def fingerprint(part: Any) -> str | None:
    """The fingerprint of a part's files, read once for each part."""
    return _fingerprint(Same(part))


@lru_cache(maxsize=16)
def _fingerprint(same: Same) -> str | None:
    found: str | None = same.part.fingerprint()
    return found


def draw(dataset: Any, seed: int) -> Any:
    """One seed's draw of a data set, shared by its cells."""
    return _draw(Same(dataset), seed)


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn whatever a user's class raises while a cell is checked into a BadInput."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{what} failed: {type(error).__name__}: {reason}") from error


@lru_cache(maxsize=DRAWS)
def _draw(same: Same, seed: int) -> Any:
    with within("dataset"):
        return same.part.draw(seed)


@lru_cache(maxsize=8)
def resolve_device(device: str) -> str:
    """Resolve `auto` to CUDA if available; raises BadInput on an unavailable device."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, index = torch.device(device).type, torch.device(device).index or 0
    except (RuntimeError, TypeError):
        kind, index = "", 0
    if kind == "cpu" and index == 0:
        return "cpu"
    if kind == "cuda" and index < torch.cuda.device_count():
        return str(device)
    raise BadInput(
        f"device={device} is not available: use auto, cpu, or cuda:N with N below the number of "
        f"CUDA devices ({torch.cuda.device_count()})"
    )
