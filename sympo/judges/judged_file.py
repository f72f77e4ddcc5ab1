"""What judging leaves in a run folder: `judges/<name>-<hash>.json`, and nothing else."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sympo.disk import content_digest, write_atomically
from sympo.evaluation.judged_content import read, sealed
from sympo.evaluation.verdicts import length_adjusted, position_bias, win_rate
from sympo.judges.damaged import set_aside
from sympo.judges.judging import Item, Judged, Line
from sympo.judges.protocol import by_authors
from sympo.protocols.judging import OPPONENTS, Judge
from sympo.runs.folder import git_commit, versions
from sympo.runs.identity import digest as settings_hash
from sympo.types import BadInput

log = logging.getLogger(__name__)

_AGAIN = "run its cell again with force=true"


class Samples:
    """The samples of a run folder, `samples/<which>.jsonl`."""

    def __init__(self, folder: Path, which: str) -> None:
        self.which, self.path = which, folder / "samples" / f"{which}.jsonl"

    @cached_property
    def _content(self) -> bytes:
        # read once, so that what is judged is what the digest is of
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read ({error.strerror})") from error

    def lines(self, against: str) -> list[Line]:
        """A line per prompt; raises BadInput where one cannot be read or lacks what is compared."""
        if not self._content:
            raise BadInput(f"{self.path} is empty; {_AGAIN}")
        found = []
        # lines end with \n alone: an answer may hold what else splits lines
        for number, text in enumerate(self._content.removesuffix(b"\n").split(b"\n"), 1):
            try:
                line = json.loads(text.decode())
            except (ValueError, RecursionError) as error:
                kind = type(error).__name__
                raise BadInput(
                    f"{self.path} row {number} is broken JSON ({kind}); {_AGAIN}"
                ) from error
            self._check(number, line, against)
            found.append(line)
        if self._written not in (None, self.digest):
            raise BadInput(f"{self.path} is not what its run wrote; {_AGAIN}")
        return found

    @property
    def _written(self) -> str | None:
        """The digest of the file in the summary of its run; None where there is none."""
        try:
            summary = json.loads((self.path.parents[1] / "summary.json").read_bytes())
            return summary["files"][f"samples/{self.path.name}"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _check(self, number: int, line: Any, against: str) -> None:
        needed = ["id", "prompt", "policy", against]
        if isinstance(line, dict) and isinstance(line.get("prompt"), list):
            needed.append("criterion")  # of dialogues, which are judged by one or another
        for key in needed:
            if not isinstance(line, dict) or key not in line:
                raise BadInput(
                    f"{self.path} row {number} lacks {key}, which judging needs; if the run is "
                    "older than judges, run it again with force=true"
                )
            if not _FITS[key](line[key]):
                raise BadInput(
                    f"{self.path} row {number}: {key}={str(line[key])[:60]!r} is not what a policy "
                    f"leaves; {_AGAIN}"
                )

    @property
    def digest(self) -> str:
        """A hash of the file, by which verdicts know that they belong to it."""
        return content_digest(self._content)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_prompt(value: Any) -> bool:
    turns = value if isinstance(value, list) else []
    told = [
        turn.get(key) for turn in turns if isinstance(turn, dict) for key in ("role", "content")
    ]
    return _is_text(value) or (len(told) == 2 * len(turns) > 0 and all(map(_is_text, told)))


_FITS: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, int | str),
    "prompt": _is_prompt,
    **dict.fromkeys(("policy", "criterion", *OPPONENTS), _is_text),
}


class JudgedFile:
    """One judge's verdicts on one run.

    name: what the judge is called; its hash is over all that the verdicts depend on, who is
        compared included.
    """

    def __init__(self, folder: Path, name: str, judge: Judge) -> None:
        self.folder, self.name = folder, name
        self.config = {**judge.key(), "against": judge.against, "protocol": judge.protocol}
        self.path = folder / "judges" / f"{name}-{settings_hash(self.config)}.json"

    @property
    def samples(self) -> dict[str, Any]:
        """What the file says of each of the samples; nothing where it is damaged, and then it is
        set aside, in one line of the log."""
        try:
            return read(self.path.read_bytes())["samples"]
        except FileNotFoundError:
            return {}
        except ValueError as error:
            log.warning(
                "%s is damaged (%s) and set aside as %s; judge again, or import answers again",
                self.path, error, set_aside(self.path).name,
            )  # fmt: skip
            return {}

    def holds(self, which: str, since: float = 0.0) -> bool:
        """Whether these samples are judged as they are now, after a moment in seconds since the
        epoch, every verdict parsed."""
        there = self.samples.get(which)
        return (
            there is not None
            and there.get("judged", 0.0) >= since
            and there["digest"] == Samples(self.folder, which).digest
            and not there["metrics"]["invalid_rate"]
        )

    def metrics(self, which: str) -> dict[str, float | None]:
        return self.samples[which]["metrics"]

    def drop(self, which: str) -> None:
        """Take out what the file says of some samples."""
        found = self.samples
        if found.pop(which, None) is not None:
            self._write(found)

    def add(self, samples: Samples, judged: Judged) -> None:
        """Put what was judged into the file, in place of what it said of these samples."""
        found = self.samples
        found[samples.which] = {
            "digest": samples.digest,
            "judged": time.time(),
            "metrics": judged_metrics(judged.items),
            "prompt_tokens": judged.prompt_tokens,
            "completion_tokens": judged.completion_tokens,
            "items": judged.items,
        }
        self._write(found)

    def _write(self, found: dict[str, Any]) -> None:
        content = {
            "judge": self.name,
            "config": self.config,
            "git_commit": git_commit(),
            "versions": versions(),
            "samples": found,
        }
        self.path.parent.mkdir(exist_ok=True)
        write_atomically(self.path, sealed(content))


def judged_metrics(items: Sequence[Item]) -> dict[str, float | None]:
    """Win rate, ties, position bias and length-adjusted win rate, with 95% intervals.

    win_rate counts ties half; invalid_rate is the share of items of which some words could not be
    parsed; authors_win_rate is what the paper's protocol makes of the same verdicts, where the
    policy's answer was shown second. None where there is nothing to count.
    """
    prompt = np.array([item["prompt"] for item in items])
    score = _floats(item["score"] for item in items)
    length, other = (_floats(item[key] for item in items) for key in ("length", "other_length"))
    found = {**win_rate(score, prompt, 0), **length_adjusted(score, length, other, prompt)}
    shown = [(item["prompt"], verdict["choice"]) for item in items for verdict in item["verdicts"]]
    if shown:
        prompts, choices = zip(*shown, strict=True)
        found |= position_bias(_floats(choices), np.array(prompts), 0)
    found["invalid_rate"] = float(np.mean([_invalid(item) for item in items]))
    fixed = [by_authors(item["verdicts"]) for item in items]
    if None not in fixed and shown:
        theirs = win_rate(_floats(fixed), prompt, 0)
        wanted = ("win_rate", "win_rate_low", "win_rate_high")
        found |= {f"authors_{name}": theirs[name] for name in wanted}
    return {name: None if np.isnan(value) else float(value) for name, value in found.items()}


def _invalid(item: Item) -> bool:
    return any(verdict["choice"] is None for verdict in item["verdicts"])


def _floats(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)
