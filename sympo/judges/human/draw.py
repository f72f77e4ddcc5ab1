"""The responses that people judge: every method equally often, each prompt once per page."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sympo import seeding
from sympo.judges.judging import Line, prompt_id
from sympo.judges.samples import Samples
from sympo.runs.folder import run_folders
from sympo.types import BadArgument, BadInput


@dataclass(frozen=True)
class Cell:
    """A complete run folder and the samples in it.

    label: what it is in words; method: eight hexadecimal digits over its config without the seed,
    so that cells that differ in anything else are never pooled.
    """

    folder: Path
    label: str
    seed: int
    method: str
    samples: Samples
    lines: Sequence[Line] = field(repr=False)

    @cached_property
    def rows(self) -> dict[str, int]:
        """The first row of each prompt."""
        rows: dict[str, int] = {}
        for row, line in enumerate(self.lines):
            rows.setdefault(prompt_id(line), row)
        return rows


@dataclass(frozen=True)
class Drawn:
    """One line of a cell's samples, counted from 0."""

    cell: Cell
    row: int

    @property
    def line(self) -> Line:
        return self.cell.lines[self.row]


def find_cells(
    roots: Sequence[Path], which: str, against: str, noise_at_least: float
) -> list[Cell]:
    """The complete cells with samples below some folders, by method and seed.

    Raises BadInput if there are none, or if samples cannot be read.
    """
    found: dict[tuple[str, ...], Cell] = {}
    lower = 0
    for root in roots:
        if not root.is_dir():
            raise BadInput(f"{root} is not a folder: give folders that hold runs")
        for folder in (Path(run).absolute() for run in run_folders(root)):
            if not (folder / "summary.json").is_file() or not Samples(folder, which).path.is_file():
                continue
            summary = _summary(folder)
            if summary["noise"] < noise_at_least:
                lower += 1
                continue
            # the tail of a path names a cell, so a cell that is given twice counts once
            found[folder.parts[-5:]] = _cell(folder, summary, which, against)
    if not found:
        raise BadInput(
            f"{', '.join(map(str, roots))}: no complete run with samples/{which}.jsonl and a noise "
            f"rate of {noise_at_least:g} or more ({lower} with less): lower noise_at_least, or "
            "give folders that hold runs of job=policy"
        )
    return sorted(found.values(), key=lambda cell: (cell.label, cell.method, cell.seed))


def draw(cells: Sequence[Cell], count: int, seed: int, annotator_seed: int) -> list[Drawn]:
    """The items of one page, `count` of them.

    No prompt is shown twice: the opponent's response would be, too, and give itself away. Methods
    take turns, shifted by annotator_seed, so that n consecutive pages of n methods show all methods
    on the same prompts and seeds.
    """
    methods: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        methods.setdefault(cell.method, {})[cell.seed] = cell
    turns = [methods[name] for name in sorted(methods)]
    seeds = sorted({cell.seed for cell in cells})
    order = _prompts(turns, seed)
    left = {cell.folder: iter([p for p in order if p in cell.rows]) for cell in cells}
    used: set[str] = set()
    drawn = []
    for turn in range(count):
        own = turns[(turn + annotator_seed) % len(turns)]
        first = turn // len(turns) % len(seeds)
        for cell in (own[s] for s in seeds[first:] + seeds[:first] if s in own):
            if (prompt := next((p for p in left[cell.folder] if p not in used), None)) is not None:
                break
        else:
            raise BadArgument(
                "items",
                count,
                "is more than there are prompts, since none is shown twice on a page: at most "
                f"{turn} here",
            )
        used.add(prompt)
        drawn.append(Drawn(cell, cell.rows[prompt]))
    return drawn


def method_names(cells: Sequence[Cell]) -> dict[str, str]:
    """The name of each method: its label, and its hash if another has the same label."""
    labels = {cell.method: cell.label for cell in cells}
    shared = Counter(labels.values())
    return {
        method: f"{label} {method}" if shared[label] > 1 else label
        for method, label in labels.items()
    }


def _prompts(methods: Sequence[dict[int, Cell]], seed: int) -> list[str]:
    """All prompts in a random order, those answered by most methods first."""
    answered = Counter(
        prompt
        for method in methods
        for prompt in {p for cell in method.values() for p in cell.rows}
    )
    prompts = sorted(answered)
    shuffled = [prompts[i] for i in seeding.generator(seed, "human").permutation(len(prompts))]
    return sorted(shuffled, key=lambda prompt: -answered[prompt])


def _cell(folder: Path, summary: Mapping[str, Any], which: str, against: str) -> Cell:
    config = {key: value for key, value in summary["config"].items() if key != "seed"}
    text = json.dumps([summary["dataset"], summary["loss"], config], sort_keys=True)
    method = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    label = "{dataset} {loss} noise={noise:g}".format(**summary)
    samples = Samples(folder, which)
    return Cell(folder, label, summary["seed"], method, samples, samples.lines(against))


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    try:
        summary: dict[str, Any] = json.loads(path.read_text())
        missing = {"dataset", "loss", "noise", "seed", "config"} - set(summary)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from error
    if missing:
        raise BadInput(f"{path} lacks {', '.join(sorted(missing))}")
    return summary
