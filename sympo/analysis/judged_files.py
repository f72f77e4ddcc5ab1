"""Verdicts in run folders, `judges/<name>-<hash>.json` -> metrics of cells, and one row per judged
item and per verdict."""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sympo.analysis.config_leaves import class_name
from sympo.analysis.frames import WHICH, flatten, show
from sympo.evaluation.judged_content import read
from sympo.judges.protocol import by_authors, policy_second

log = logging.getLogger(__name__)

_LONGEST = 40


@dataclass(frozen=True)
class JudgedItems:
    """Judged items and verdicts as numbers; texts (ids, prompts, digests of samples) are codes.

    items: one row per judged item: cell (row of `cells`), judge (its label), which, against,
        protocol, samples, id, prompt; score: 1 a win of the policy, 0.5 a tie, 0 a loss, NaN
        invalid; authors: the score by the paper's protocol, NaN if no pair was shown with the
        policy's response second; invalid: whether some reply could not be parsed; shown: how often
        it was shown, 0 for two equal responses.
    verdicts: one row per time that a pair was shown: cell, judge, which, prompt; choice: 1 if the
        first response won, 0.5 for a tie, 0 if the second won, NaN invalid; policy_first.
    """

    items: pd.DataFrame
    verdicts: pd.DataFrame


@dataclass(frozen=True)
class _Block:
    """One judge's verdicts on the samples of one cell."""

    cell: int
    name: str
    config: dict[str, Any]
    which: str
    metrics: Mapping[str, float | None]
    items: dict[str, np.ndarray]
    verdicts: dict[str, np.ndarray]


class JudgedFiles:
    """Reads the judged files of run folders one by one, without keeping their texts."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._codes: dict[str, int] = {}

    def read(self, folder: str, cell: int) -> None:
        """Gather the verdicts in a folder; cell: its row in `cells`."""
        judges = f"{folder}/judges"
        if not os.access(judges, os.F_OK):  # fast, for 100,000 folders
            return
        for path in sorted(Path(judges).glob("*.json")):
            try:
                judged = read(path.read_bytes())
                self._blocks += [
                    self._block(cell, judged, which)
                    for which in WHICH
                    if which in judged["samples"]
                ]
            except (OSError, ValueError) as error:
                log.warning("%s is damaged (%s): its verdicts are left out", path, error)

    def gathered(self, datasets: Sequence[str]) -> tuple[pd.DataFrame, JudgedItems]:
        """The columns `<which>/judge/<label>/<metric>` of all cells, and the items.

        datasets: of each cell. A label is the judge's name and the fewest settings that distinguish
        it from others of that name in a data set, e.g. `gold (protocol=authors)`.
        """
        labels = _labels(self._blocks, datasets)
        columns: dict[str, np.ndarray] = {}
        for block, label in zip(self._blocks, labels, strict=True):
            for name, value in block.metrics.items():
                column = f"{block.which}/judge/{label}/{name}"
                if column not in columns:
                    columns[column] = np.full(len(datasets), np.nan)
                columns[column][block.cell] = np.nan if value is None else value
        metrics = pd.DataFrame(columns, index=range(len(datasets)))
        items = _frame(self._blocks, labels, [block.items for block in self._blocks])
        verdicts = _frame(self._blocks, labels, [block.verdicts for block in self._blocks])
        return metrics, JudgedItems(items, verdicts)

    def _block(self, cell: int, judged: dict[str, Any], which: str) -> _Block:
        config, there = flatten(judged["config"]), judged["samples"][which]
        items = there["items"]
        prompts = self._coded(item["prompt"] for item in items)
        shown = np.array([len(item["verdicts"]) for item in items], dtype=np.int64)
        verdicts = [verdict for item in items for verdict in item["verdicts"]]
        fixed = any(map(policy_second, verdicts))
        return _Block(
            cell,
            judged["judge"],
            config,
            which,
            there["metrics"],
            {
                "samples": np.repeat(self._coded([there["digest"]]), len(items)),
                "id": self._coded(item["id"] for item in items),
                "prompt": prompts,
                "score": _floats(item["score"] for item in items),
                "authors": _floats(
                    by_authors(item["verdicts"]) if fixed else None for item in items
                ),
                "invalid": np.array(
                    [any(v["choice"] is None for v in i["verdicts"]) for i in items]
                ),
                "shown": shown,
            },
            {
                "prompt": np.repeat(prompts, shown),
                "choice": _floats(verdict["choice"] for verdict in verdicts),
                "policy_first": np.array([v["policy_first"] for v in verdicts], dtype=bool),
            },
        )

    def _coded(self, texts: Iterable[Any]) -> np.ndarray:
        codes = self._codes
        return np.array([codes.setdefault(str(t), len(codes)) for t in texts], dtype=np.int64)


def _labels(blocks: Sequence[_Block], datasets: Sequence[str]) -> list[str]:
    """A label per block: name and distinguishing settings."""
    by_name: dict[str, list[int]] = {}
    for place, block in enumerate(blocks):
        by_name.setdefault(block.name, []).append(place)
    labels = [block.name for block in blocks]
    for name, places in by_name.items():
        configs = _comparable([blocks[place].config for place in places])
        leaves = _distinguishing([datasets[blocks[place].cell] for place in places], configs)
        for place, config in zip(places, configs, strict=True):
            if shown := _shown(leaves, config):
                labels[place] = f"{name} ({shown})"
    return labels


def _comparable(configs: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Configs of judges of one name, without what only the versions that wrote them differ in.

    Earlier versions named the class by its Python path, and held settings at their defaults too: of
    such a setting, the only value counts as the default.
    """
    earlier = [config for config in configs if "." in str(config.get("judge"))]
    later = [config for config in configs if "." not in str(config.get("judge"))]
    if not earlier or not later:
        return configs
    values: dict[str, set[str]] = {}
    for config in earlier:
        for leaf, value in config.items():
            values.setdefault(leaf, set()).add(repr(value))
    held = set(chain.from_iterable(later))
    left_out = {leaf for leaf, found in values.items() if len(found) == 1 and leaf not in held}
    if len({class_name(str(config.get("judge"))) for config in configs}) == 1:
        left_out.add("judge")
    return [{k: v for k, v in config.items() if k not in left_out} for config in configs]


def _distinguishing(datasets: Sequence[str], configs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The fewest settings that distinguish the configs of each data set; of equally many, those
    with the shortest label. One that follows from the data set, as a language does, is not used."""
    leaves = sorted(set(chain.from_iterable(configs)))
    rows = {  # distinct ones: a judge has verdicts in many cells
        (place, *map(config.get, leaves)): config
        for place, config in zip(datasets, configs, strict=True)
    }
    differing = [
        leaf
        for number, leaf in enumerate(leaves, 1)
        if len({(row[0], row[number]) for row in rows}) > len(set(datasets))
    ]

    def apart(some: tuple[str, ...]) -> bool:
        shown = {(row[0], *map(config.get, some)) for row, config in rows.items()}
        return len(shown) == len(rows)

    for size in range(len(differing)):
        if found := [some for some in combinations(differing, size) if apart(some)]:
            return min(found, key=lambda some: max(len(_shown(some, c)) for c in rows.values()))
    return tuple(differing)


def _shown(leaves: Iterable[str], config: Mapping[str, Any]) -> str:
    return ", ".join(f"{leaf}={_short(config[leaf])}" for leaf in leaves if leaf in config)


def _short(value: object) -> str:
    """A setting in a label; long ones, such as prompt templates, by their hash."""
    text = show(value)
    if len(text) <= _LONGEST:
        return text
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _frame(
    blocks: Sequence[_Block], labels: Sequence[str], parts: Sequence[dict[str, np.ndarray]]
) -> pd.DataFrame:
    """The parts below one another, with the columns that are constant in each."""
    sizes = [len(part["prompt"]) for part in parts]
    same = {
        "judge": labels,
        "which": [block.which for block in blocks],
        "against": [block.config.get("against", "") for block in blocks],
        "protocol": [block.config.get("protocol", "") for block in blocks],
    }
    cell = np.repeat(np.array([block.cell for block in blocks], dtype=np.int64), sizes)
    columns = {"cell": cell} | {
        name: pd.Categorical(values).repeat(sizes) for name, values in same.items()
    }
    if parts:
        columns |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return pd.DataFrame(columns)


def _floats(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
