"""What a preset asks of its report beside the standing figures: comparisons and claims."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sympo.disk import write_atomically
from sympo.metrics import EPOCHS, figures, metric_of, undeclared
from sympo.types import BadInput, closest

FILE = "report.json"  # beside the CSVs of a report, for redrawing it
FULL = "full"
SIZES = ("small", "medium", FULL)
Value = str | float | bool | None
Selector = Mapping[str, tuple[Value, ...]]
# settings outside the groups; `epoch` is the reported one, last or selected
ALONE = ("noise", "epoch")
# the names of standing figures and tables
_TAKEN = {
    *(figure.name for figure in figures()), "training_panel", "summary", "differences", "judges",
    "agreement", "judged_differences", "cells", "curves", "incomplete", "outcomes", "test_sets",
    "claims", "comparisons", "report", "provenance",
}  # fmt: skip
_WHERE_MEASURED = ("train", "validation", "test", "policy", "reference", "judge", "baseline")
_SETTING = re.compile(r"[a-z]\w*(?:\.\w+)*")


@dataclass(frozen=True)
class Choice:
    """Which value of a setting to show for each combination of the others.

    The value with the highest mean over seeds of `by`, such as
    `selected/validation/noisy_accuracy`; or, with `nearest`, in nats, the value whose mean
    `policy/kl` is closest to it, and at most a quarter of it away.
    """

    setting: str
    by: str
    nearest: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A figure of one metric against a setting, or against another metric.

    name: of its files. metric: a path below the epoch, `test/order_accuracy`. x: a setting
    (`noise`, `dataset.train_pairs`) or the path of a metric. epoch: the reported epochs, a panel
    each unless `epoch` is among the lines. lines, panels: the settings whose values make a line or
    a panel each. where: the cells to draw, by the values of settings. choose: a setting that is at
    its best value.
    """

    name: str
    metric: str
    x: str = "noise"
    epoch: tuple[str, ...] = ("last",)
    log_x: bool = False
    lines: tuple[str, ...] = ("loss",)
    panels: str | None = None
    title: str = ""
    where: Selector = field(default_factory=dict)
    choose: Choice | None = None
    bound: Selector = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A claim that a family of paired comparisons of a and b supports, contradicts or leaves
    undecided.

    claim: a sentence without a full stop. source: where it is made. kind: `greater` (a - b exceeds
    the margin) or `equal` (|a - b| is below it). metric: with its epoch,
    `last/test/order_accuracy`; margin: in its stored unit. a, b: the cells compared, by the values
    of settings. over: a comparison for each combination of these settings. where: the cells to use.
    choose: as in `Comparison`.
    """

    claim: str
    source: str
    kind: Literal["equal", "greater"]
    metric: str
    a: Selector
    b: Selector
    margin: float = 0.0
    over: tuple[str, ...] = ()
    where: Selector = field(default_factory=dict)
    choose: Choice | None = None


@dataclass(frozen=True)
class ReportSettings:
    """The comparisons and claims of a report, and the size of its experiment."""

    comparisons: tuple[Comparison, ...] = ()
    claims: tuple[Claim, ...] = ()
    size: str = FULL

    @classmethod
    def of(cls, given: object, size: str = FULL, place: str = "report") -> "ReportSettings":
        """Read `{comparisons: [...], claims: [...]}`; raises BadInput, naming the key, if it is not
        valid."""
        lists = _mapping(place, given)
        _refuse_unknown(place, lists, ("comparisons", "claims"))
        found = cls(
            tuple(
                Comparison(**_read(at, one, _OF_COMPARISON, ("name", "metric")))
                for at, one in _items(f"{place}.comparisons", lists.get("comparisons", []))
            ),
            tuple(
                _claim(at, one) for at, one in _items(f"{place}.claims", lists.get("claims", []))
            ),
            size,
        )
        for number, one in enumerate(found.comparisons):
            if one.bound and metric_of(one.metric).high != 1:
                raise BadInput(
                    f"{place}.comparisons[{number}].bound is not allowed with metric={one.metric}: "
                    "it is for metrics whose best value is 1, such as test/order_accuracy"
                )
        names = [one.name.lower() for one in found.comparisons]  # some disks ignore case
        for number, name in enumerate(names):
            if name in names[:number]:
                raise BadInput(
                    f"{place}.comparisons[{number}].name={name} is also the name of another one"
                )
        return found

    def __bool__(self) -> bool:
        return bool(self.comparisons or self.claims)

    def uses(self) -> Iterator[tuple[str, str, tuple[Value, ...]]]:
        """Every setting in use: its place, its name and the values it is compared with."""
        for number, one in enumerate(self.comparisons):
            at = f"report.comparisons[{number}]"
            named = [("lines", name) for name in one.lines]
            named += [("x", one.x)] if "/" not in one.x else []
            named += [("panels", one.panels)] if one.panels else []
            yield from ((f"{at}.{key}", name, ()) for key, name in named)
            for key, cells in (("where", one.where), ("bound", one.bound)):
                yield from ((f"{at}.{key}.{name}", name, of) for name, of in cells.items())
            if one.choose:
                yield f"{at}.choose.setting", one.choose.setting, ()
        for number, claim in enumerate(self.claims):
            at = f"report.claims[{number}]"
            yield from ((f"{at}.over", name, ()) for name in claim.over)
            for key, selector in (("a", claim.a), ("b", claim.b), ("where", claim.where)):
                yield from ((f"{at}.{key}.{name}", name, of) for name, of in selector.items())
            if claim.choose:
                yield f"{at}.choose.setting", claim.choose.setting, ()

    def write(self, folder: Path) -> None:
        """Write `report.json` into a folder."""
        made = asdict(self)
        write_atomically(folder / FILE, json.dumps(made, indent=1) + "\n")

    @classmethod
    def stored(cls, folder: Path) -> "ReportSettings":
        """What `write` wrote; nothing for a folder without `report.json`; raises BadInput if it is
        damaged."""
        file = folder / FILE
        if not file.is_file():
            return cls()
        try:
            made = _mapping(str(file), json.loads(file.read_text()))
        except (OSError, ValueError, RecursionError) as error:
            raise BadInput(f"{file} cannot be read: {error}") from error
        size = _text(f"{file}.size", made.pop("size", FULL))
        return cls.of(made, size, str(file))

    @classmethod
    def load(cls, file: Path, size: str = FULL) -> "ReportSettings":
        """From a YAML or JSON file with `comparisons` and `claims`, or with a key `report` that has
        them, such as a preset; raises BadInput if there is none."""
        import yaml  # only here

        try:
            made = yaml.safe_load(file.read_text())
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise BadInput(
                f"--report={file} cannot be read: {' '.join(str(error).split())}"
            ) from error
        made = made.get("report", made) if isinstance(made, dict) else made
        return cls.of(made, size, str(file))


def _claim(place: str, given: object) -> Claim:
    read = _read(place, given, _OF_CLAIM, ("claim", "source", "kind", "metric", "a", "b"))
    if read["kind"] == "equal" and not read.get("margin"):
        raise BadInput(f"{place}.margin is missing: a claim of kind equal needs one above 0")
    return Claim(**read)


def _read(
    place: str, given: object, readers: Mapping[str, "Reader"], required: Sequence[str]
) -> dict[str, Any]:
    found = _mapping(place, given)
    _refuse_unknown(place, found, readers)
    for key in required:
        if key not in found:
            raise BadInput(f"{place}.{key} is missing")
    # null leaves a setting at its default
    return {
        key: readers[key](f"{place}.{key}", value)
        for key, value in found.items()
        if value is not None or key in required
    }


def _refuse_unknown(place: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for key, value in given.items():
        if key not in known:
            raise BadInput(f"{place}.{key}={value!r}: there is no such key; {closest(key, known)}")


def _mapping(place: str, given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadInput(f"{place}={given!r} is not allowed: it must be a mapping")
    return {str(key): value for key, value in given.items()}


def _items(place: str, given: object) -> list[tuple[str, object]]:
    if not isinstance(given, list | tuple):
        raise BadInput(f"{place}={given!r} is not allowed: it must be a list")
    return [(f"{place}[{number}]", one) for number, one in enumerate(given)]


def _text(place: str, given: object) -> str:
    if not isinstance(given, str):
        raise BadInput(f"{place}={given!r} is not allowed: it must be a text")
    return given


def _sentence(place: str, given: object) -> str:
    text = " ".join(_text(place, given).split())
    if not text or text.endswith("."):
        raise BadInput(
            f"{place}={text!r} is not allowed: it must be a sentence without a full stop"
        )
    return text


def _flag(place: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise BadInput(f"{place}={given!r} is not allowed: it must be true or false")
    return given


def _name(place: str, given: object) -> str:
    name = _text(place, given)
    # values follow after `__`, if a comparison has several figures
    if not re.fullmatch(r"\w[\w.=+-]{0,99}", name) or "__" in name:
        raise BadInput(
            f"{place}={name!r} is not allowed: it must be a name of a file, of at most "
            "100 letters, digits and _.=+-, without __"
        )
    if name.lower() in _TAKEN or name.startswith("judge_"):
        raise BadInput(f"{place}={name} is not allowed: a standing figure or table has this name")
    return name


def _kind(place: str, given: object) -> str:
    if given not in ("equal", "greater"):
        raise BadInput(f"{place}={given!r} is not allowed: it must be equal or greater")
    return str(given)


def _margin(place: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 1e9:
        raise BadInput(f"{place}={given!r} is not allowed: it must be a number of at least 0")
    return float(given)


def _path(place: str, given: object) -> str:
    path = _text(place, given)
    if path.split("/")[0] in EPOCHS:
        raise BadInput(f"{place}={path} is not allowed: leave out the epoch, which is epoch=[...]")
    return _below_epoch(place, path, path)


def _path_with_epoch(place: str, given: object) -> str:
    path = _text(place, given)
    which, _, rest = path.partition("/")
    if which not in EPOCHS:
        raise BadInput(f"{place}={path} is not allowed: it must begin with {' or '.join(EPOCHS)}/")
    _below_epoch(place, path, rest)
    return path


def _below_epoch(place: str, path: str, rest: str) -> str:
    first, _, name = rest.partition("/")
    if first not in _WHERE_MEASURED or not name:
        raise BadInput(
            f"{place}={path} is not a metric: it must begin with {', '.join(_WHERE_MEASURED)}"
        )
    if advice := undeclared(rest):
        raise BadInput(f"{place}={path} is not a metric: {advice}")
    return rest


def _setting(place: str, given: object) -> str:
    name = _text(place, given)
    if name == "seed":
        raise BadInput(f"{place}=seed is not allowed: numbers are means over seeds")
    if not _SETTING.fullmatch(name):
        raise BadInput(
            f"{place}={name} is not a setting: it must be {', '.join(ALONE)}, a group such as "
            "loss, or a setting in a group, such as dataset.train_pairs"
        )
    return name


def _axis(place: str, given: object) -> str:
    return _path(place, given) if "/" in _text(place, given) else _setting(place, given)


def _settings(place: str, given: object) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) else [one for _, one in _items(place, given)]
    return tuple(dict.fromkeys(_setting(place, one) for one in several))


def _epoch(place: str, given: object) -> None:
    if not isinstance(given, str) or given not in EPOCHS:
        raise BadInput(f"{place}={given!r} is not allowed: it must be {' or '.join(EPOCHS)}")


def _rate(place: str, given: object) -> None:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 0.5:
        raise BadInput(f"{place}={given!r} is not allowed: it must be a noise rate in [0, 0.5)")


def _epochs(place: str, given: object) -> tuple[str, ...]:
    several = [given] if isinstance(given, str) else [one for _, one in _items(place, given)]
    for one in several:
        _epoch(place, one)
    if not several:
        raise BadInput(f"{place}=[] is not allowed: it must be {' or '.join(EPOCHS)}, or both")
    return tuple(which for which in EPOCHS if which in several)


def _selector(place: str, given: object) -> dict[str, tuple[Value, ...]]:
    found = {}
    for name, values in _mapping(place, given).items():
        _setting(f"{place}.{name}", name)
        several = list(values) if isinstance(values, list | tuple) else [values]
        for value in several or [several]:
            if not isinstance(value, str | int | float | bool | None):
                raise BadInput(
                    f"{place}.{name}={values!r} is not allowed: it must be a value or a list"
                )
            if name in _ALONE_CHECKS:
                _ALONE_CHECKS[name](f"{place}.{name}", value)
        found[name] = tuple(several)
    return found


def _chosen(place: str, given: object) -> str:
    if (name := _setting(place, given)) in ALONE:
        raise BadInput(f"{place}={name} is not allowed: nobody can choose it before a test")
    return name


def _choice(place: str, given: object) -> Choice:
    readers: Mapping[str, Reader] = {
        "setting": _chosen, "by": _path_with_epoch, "nearest": _nats,
    }  # fmt: skip
    choice = Choice(**_read(place, given, readers, ("setting", "by")))
    # by any other metric, the choice would see clean labels, or the test pairs
    path = "validation/noisy_accuracy" if choice.nearest is None else "policy/kl"
    if choice.by.partition("/")[2] != path:
        allowed = " or ".join(f"{which}/{path}" for which in EPOCHS)
        when = "" if choice.nearest is None else "with nearest, "
        raise BadInput(f"{place}.by={choice.by} is not allowed: {when}it must be {allowed}")
    return choice


def _nats(place: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < 1e9:
        raise BadInput(f"{place}={given!r} is not allowed: it must be a number of nats above 0")
    return float(given)


def _side(place: str, given: object) -> dict[str, tuple[Value, ...]]:
    if not (found := _selector(place, given)):
        raise BadInput(f"{place}={{}} is not allowed: it must have at least one setting")
    return found


Reader = Callable[[str, object], Any]
_ALONE_CHECKS: Mapping[str, Callable[[str, object], None]] = {"noise": _rate, "epoch": _epoch}
_OF_COMPARISON: dict[str, Reader] = {
    "name": _name, "metric": _path, "x": _axis, "epoch": _epochs, "log_x": _flag,
    "lines": _settings, "panels": _setting, "title": _text, "where": _selector,
    "choose": _choice, "bound": _selector,
}  # fmt: skip
_OF_CLAIM: dict[str, Reader] = {
    "claim": _sentence, "source": _text, "kind": _kind, "metric": _path_with_epoch,
    "margin": _margin, "a": _side, "b": _side, "over": _settings, "where": _selector,
    "choose": _choice,
}  # fmt: skip
