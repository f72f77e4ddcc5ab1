"""The files of a stage of pairs: token ids as arrays, texts as JSON Lines, the account of rows."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sympo.data import row_account
from sympo.models.texts.packed_rows import PackedRows
from sympo.types import Encoded, Preferences, TokenPairs, chosen_over_rejected

SPLITS = ("train", "validation", "test")
# of PreferencePairs, where a data set has them
COLUMNS = ("gap", "score_gap", "disputed", "probability")
# the account of rows, kept with pairs and in run folders
ACCOUNT = "data.json"


def save_ids(path: Path, ids: Any, **more: Any) -> None:
    lengths = np.array([len(own) for own in ids], dtype=np.int64)
    flat = np.concatenate([*ids, np.empty(0, np.int64)]).astype(np.int64)
    np.savez(path, ids=flat, lengths=lengths, **more)


def load_ids(found: Any) -> list[np.ndarray]:
    return np.split(found["ids"], np.cumsum(found["lengths"])[:-1])


def save_pairs(folder: Path, name: str, made: TokenPairs) -> None:
    for side, encoded in (("chosen", made.chosen), ("rejected", made.rejected)):
        save_ids(folder / f"{name}-{side}.npz", encoded.ids, start=encoded.start)
    columns = {name: getattr(made.pairs, name) for name in COLUMNS}
    known = {name: column for name, column in columns.items() if column is not None}
    save_ids(folder / f"{name}-prompts.npz", made.prompts, pair=made.pairs.ids, **known)
    with (folder / f"{name}.jsonl").open("w") as file:
        file.writelines(json.dumps(text) + "\n" for text in made.texts)


def load_preferences(folder: Path) -> Preferences:
    return _loaded(folder, _made(folder))


def load_rows(folder: Path) -> dict[str, PackedRows]:
    return _packed(folder, _made(folder))


def _made(folder: Path) -> int:
    # a stage that was made again is read again
    return (folder / "key.json").stat().st_mtime_ns


@lru_cache(maxsize=4)
def _loaded(folder: Path, made: int) -> Preferences:
    splits = {}
    for name in SPLITS:
        sides = []
        for side in ("chosen", "rejected"):
            with np.load(folder / f"{name}-{side}.npz") as found:
                sides.append(Encoded(load_ids(found), found["start"]))
        with np.load(folder / f"{name}-prompts.npz") as found:
            columns = {name: found.get(name) for name in COLUMNS}
            pairs, prompts = chosen_over_rejected(found["pair"], **columns), load_ids(found)
        with (folder / f"{name}.jsonl").open() as lines:
            texts = [json.loads(line) for line in lines]
        splits[name] = TokenPairs(pairs, sides[0], sides[1], prompts, texts)
    return Preferences(**splits, account=row_account.read((folder / ACCOUNT).read_text()))


@lru_cache(maxsize=4)
def _packed(folder: Path, made: int) -> dict[str, PackedRows]:
    preferences = _loaded(folder, made)
    splits = {name: getattr(preferences, name) for name in SPLITS}
    return {name: PackedRows(split.chosen, split.rejected) for name, split in splits.items()}
