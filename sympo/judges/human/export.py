"""From run folders to a page and its key."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sympo import ranges, seeding
from sympo.disk import write_atomically
from sympo.judges.human.draw import Cell, Drawn, draw, find_cells, method_names
from sympo.judges.human.key import Key, KeyCell, KeyItem, relative
from sympo.judges.human.page import CRITERIA, render
from sympo.judges.judging import comparison
from sympo.ranges import Count, Rate, Seed
from sympo.types import BadInput


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is drawn, and how it is shown.

    annotator_seed: pages of one study that differ in it hold the same prompts, but the response of
    another method to each, in another order. The rest as in `sympo.judges.Judge`.
    """

    items: Count = 100
    against: str = "chosen"
    samples: str = "last"
    seed: Seed = 0
    annotator_seed: Seed = 0
    noise_at_least: Rate = 0.3
    title: str = "Which answer is better?"

    def __post_init__(self) -> None:
        ranges.check(self)


@dataclass(frozen=True)
class Exported:
    """What was written.

    asked: the number of items of each method that people are to judge; equal: the number with two
    equal responses.
    """

    page: Path
    key: Path
    asked: dict[str, int]
    equal: int


def export(roots: Sequence[Path], out: Path, study: Study) -> Exported:
    """Draw a study from run folders and write its page, and its key beside it.

    The same samples and settings give the same page. Raises BadInput.
    """
    cells = find_cells(roots, study.samples, study.against, study.noise_at_least)
    drawn = draw(cells, study.items, study.seed, study.annotator_seed)
    for one in drawn:
        _check(one)
    digests = [cell.samples.digest for cell in cells]
    # the draw depends on the samples too, which annotators do not have: seed, code and page do not
    # reveal which side is whose
    names = json.dumps([asdict(study), sorted(digests)], sort_keys=True)
    random = seeding.generator(study.seed, "human page", names)
    sides = _sides([one.cell for one in drawn], random)
    items: dict[str, KeyItem] = {}
    shown: list[dict[str, Any]] = []
    equal: list[KeyItem] = []
    place = {cell.folder: number for number, cell in enumerate(cells)}
    for number in random.permutation(len(drawn)):
        one, name = drawn[number], random.bytes(6).hex()
        item = KeyItem(place[one.cell.folder], one.row, sides[number])
        if one.line["policy"] == one.line[study.against]:
            equal.append(item)
        else:
            items[name] = item
            shown.append(_shown(name, one, study.against, sides[number]))
    content = json.dumps([study.title, shown]).encode()
    key_path = out.with_suffix(".key.json")
    method = method_names(cells)
    key = Key(
        study=hashlib.blake2b(content, digest_size=6).hexdigest(),
        against=study.against,
        samples=study.samples,
        cells=[
            KeyCell(relative(cell.folder, key_path), method[cell.method], digest)
            for cell, digest in zip(cells, digests, strict=True)
        ],
        items=items,
        equal=equal,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    key.write(key_path)
    write_atomically(out, render(key.study, study.title, shown))
    asked = dict.fromkeys(method.values(), 0)
    for item in items.values():
        asked[key.cells[item.cell].method] += 1
    return Exported(out, key_path, asked, len(equal))


def _sides(cells: Sequence[Cell], random: np.random.Generator) -> list[bool]:
    """Whether the policy's response is A: at random, and for half the items of each method, so that
    a preference for one side affects all methods alike."""
    sides = [False] * len(cells)
    for method in sorted({cell.method for cell in cells}):
        own = [number for number, cell in enumerate(cells) if cell.method == method]
        drawn = (random.permutation(len(own)) + random.integers(2)) % 2
        for number, first in zip(own, drawn, strict=True):
            sides[number] = bool(first)
    return sides


def _shown(name: str, drawn: Drawn, against: str, policy_first: bool) -> dict[str, Any]:
    """An item on the page: texts, and nothing that reveals their origin."""
    seen = comparison(drawn.line, against, policy_first)
    dialogue = [{key: message[key] for key in ("role", "content")} for message in seen.dialogue]
    return {
        "id": name,
        "criterion": seen.criterion,
        "dialogue": dialogue,
        "a": seen.first,
        "b": seen.second,
    }


def _check(drawn: Drawn) -> None:
    if (criterion := drawn.line.get("criterion", "helpful")) not in CRITERIA:
        raise BadInput(
            f"{drawn.cell.samples.path} row {drawn.row + 1}: criterion={criterion!r} is not one of "
            f"{', '.join(CRITERIA)}"
        )
