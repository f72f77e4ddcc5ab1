"""The settings of cells, comparable between versions of the code that wrote them.

A summary names the class of every part under `_identity_`, holds all settings, and lists those at
their default under `at_default`. Summaries of format 1 name classes by Python path under `_target_`
and list no defaults. A setting that was added later is missing from earlier cells of either format,
which had its default.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

SEPARATOR = "\n"  # of names in the column `at_default`
_IDENTITY, _TARGET = "._identity_", "._target_"

Leaves = dict[str, pa.ChunkedArray]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Defaults:
    """The leaves that each cell has at their defaults.

    code: (n,) the place of a cell's list in `lists`, which are distinct; -1 for format 1.
    """

    code: npt.NDArray[np.int64]
    lists: Sequence[frozenset[str]]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "Defaults":
        """From a column of leaves, joined by SEPARATOR; null for cells of format 1."""
        coded = pc.dictionary_encode(column.cast(pa.string())).combine_chunks()
        code = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        lists = coded.dictionary.to_pylist()
        return cls(code, [frozenset(text.split(SEPARATOR)) for text in lists])

    def have(self, leaf: str) -> Mask:
        """(n,) whether a cell has this leaf at its default."""
        # the last one is for code -1
        return np.array([*(leaf in names for names in self.lists), False])[self.code]


def comparable(
    leaves: Mapping[str, pa.ChunkedArray],
    defaults: Defaults,
    options: Mapping[str, Sequence[str | None]],
    folders: Sequence[str],
) -> Leaves:
    """Leaves that differ only between cells with different settings, not between versions.

    A leaf missing from a cell gets the default that it has in cells whose part is of the same
    class. A leaf missing from all cells of format 2 gets the value of format 1, if that is unique,
    and so does the class of a part that format 1 lacks.
    Beside cells of format 2, `_target_` becomes their `_identity_`. Cells that are all of format 1
    stay unchanged.

    options: per group, such as `loss`, each cell's option.
    """
    found = dict(leaves)
    if (defaults.code < 0).all():
        return found
    for part in [name.removesuffix(_TARGET) for name in leaves if name.endswith(_TARGET)]:
        if part + _IDENTITY in found:
            found[part + _IDENTITY] = _named(
                found.pop(part + _TARGET), found[part + _IDENTITY], options.get(part)
            )
    # the class of a part says which default applies, so it comes first
    for leaf in sorted(found, key=lambda leaf: (not leaf.endswith(_IDENTITY), leaf.count("."))):
        if 0 < found[leaf].null_count < len(found[leaf]):
            for value, lacking in _defaults_of(leaf, found, defaults):
                absent = _absent(leaf, lacking, folders)
                found[leaf] = pc.if_else(pa.array(absent), value, found[leaf])
    return found


def _defaults_of(leaf: str, leaves: Leaves, defaults: Defaults) -> Iterator[tuple[pa.Scalar, Mask]]:
    """Defaults of a leaf by class, each with the cells of that class that have no value."""
    column = leaves[leaf]
    missing = column.is_null().to_numpy()
    known = defaults.have(leaf) & ~missing
    lacking = missing & ~defaults.have(leaf)
    old = defaults.code < 0
    if not known.any():
        if missing[~old].all() and not missing[old].any():  # a leaf that only format 1 has
            known = old
        elif (
            old.any() and missing[old].all() and leaf.endswith(_IDENTITY)
        ):  # a part that only format 2 has
            known = ~missing
        else:
            return
    classes = _classes(leaf, leaves)
    for code in np.unique(classes[known]):
        same = classes == code
        values = column.filter(pa.array(known & same)).unique()
        if len(values) == 1 and (lacking & same).any():
            yield values[0], lacking & same


def _classes(leaf: str, leaves: Leaves) -> npt.NDArray[np.int64]:
    """(n,) codes of the class of a leaf's part; all equal if no part around it has a class."""
    for part in _around(leaf):
        if part + _IDENTITY in leaves:
            coded = pc.dictionary_encode(leaves[part + _IDENTITY]).combine_chunks()
            return np.asarray(pc.fill_null(coded.indices, -1)).astype(np.int64)
    return np.zeros(len(leaves[leaf]), dtype=np.int64)


def _around(leaf: str) -> Iterator[str]:
    """The parts around a leaf, innermost first; the job is around the parts at the top level."""
    names = leaf.removesuffix(_IDENTITY).split(".")
    yield from (".".join(names[:depth]) for depth in range(len(names) - 1, 0, -1))
    if leaf.endswith(_IDENTITY) and names != ["job"]:
        yield "job"


def _named(
    targets: pa.ChunkedArray, identities: pa.ChunkedArray, options: Sequence[str | None] | None
) -> pa.ChunkedArray:
    """Identities of all cells. A Python path becomes the identity that reads like its class
    (`DrDPO` is `dr_dpo`), else the only identity of cells with the same option."""
    old: list[str | None] = targets.to_pylist()
    new: list[str | None] = identities.to_pylist()
    chosen = options or [None] * len(old)
    by_name: dict[str, str] = {class_name(name): name for name in new if name is not None}
    of_option: dict[str | None, set[str]] = {}
    for option, name in zip(chosen, new, strict=True):
        if name is not None:
            of_option.setdefault(option, set()).add(name)
    paths_of: dict[str | None, set[str]] = {}
    for option, path in zip(chosen, old, strict=True):
        if path is not None and class_name(path) not in by_name:
            paths_of.setdefault(option, set()).add(path)

    def translated(option: str | None, path: str) -> str:
        if class_name(path) in by_name:
            return by_name[class_name(path)]
        names = of_option.get(option, set())
        # no cell of format 2 has this class
        return (
            next(iter(names))
            if len(names) == len(paths_of[option]) == 1
            else path.rpartition(".")[2]
        )

    cells = zip(chosen, old, new, strict=True)
    named = [name if path is None else translated(option, path) for option, path, name in cells]
    return pa.chunked_array([pa.array(named, pa.string())])


def class_name(path: str) -> str:
    """A class's name without case and underscores, equal for its Python path and its identity:
    `sympo.losses.DrDPO` and `dr_dpo`."""
    return re.sub(r"[\W_]", "", path.rpartition(".")[2]).lower()


def _absent(leaf: str, cells: Mask, folders: Sequence[str]) -> Mask:
    """The cells among these that lack a leaf. In tables, a leaf set to null looks the same."""
    absent = np.zeros(len(cells), dtype=bool)
    *_, name = leaf.split(".")
    for cell in np.flatnonzero(cells).tolist():
        content = (Path(folders[cell]) / "summary.json").read_bytes()
        absent[cell] = json.dumps(name).encode() not in content or not _holds(content, leaf)
    return absent


def _holds(content: bytes, leaf: str) -> bool:
    part = json.loads(content)["config"]
    for name in leaf.split("."):
        if not isinstance(part, dict) or name not in part:
            return False
        part = part[name]
    return True
