"""A policy's samples in a run folder, `samples/<which>.jsonl`."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from sympo.disk import content_digest
from sympo.judges.judging import Line
from sympo.protocols.judging import OPPONENTS
from sympo.types import BadInput

_AGAIN = "run its cell again with force=true"


class Samples:
    """The samples of a run folder, `samples/<which>.jsonl`."""

    def __init__(self, folder: Path, which: str) -> None:
        self.which, self.path = which, folder / "samples" / f"{which}.jsonl"

    @cached_property
    def _content(self) -> bytes:
        # read once, so that the digest is that of what is judged
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read ({error.strerror})") from error

    def lines(self, against: str) -> list[Line]:
        """A line per prompt; raises BadInput if one cannot be read or lacks a response."""
        if not self._content:
            raise BadInput(f"{self.path} is empty; {_AGAIN}")
        found = []
        # lines end with \n alone: a response may hold other line breaks
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
        """The digest of the file in the summary of its run; None if there is none."""
        try:
            summary = json.loads((self.path.parents[1] / "summary.json").read_bytes())
            return str(summary["files"][f"samples/{self.path.name}"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _check(self, number: int, line: Any, against: str) -> None:
        needed = ["id", "prompt", "policy", against]
        if isinstance(line, dict) and isinstance(line.get("prompt"), list):
            needed.append("criterion")  # dialogues are judged by one or another
        for key in needed:
            if not isinstance(line, dict) or key not in line:
                raise BadInput(
                    f"{self.path} row {number} lacks {key}, which judging needs; if the run is "
                    "older than judges, run it again with force=true"
                )
            if not _FITS[key](line[key]):
                raise BadInput(
                    f"{self.path} row {number}: {key}={str(line[key])[:60]!r} is not what a policy "
                    f"writes; {_AGAIN}"
                )

    @property
    def digest(self) -> str:
        """A hash of the file, which its verdicts hold."""
        return content_digest(self._content)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_prompt(value: Any) -> bool:
    turns = value if isinstance(value, list) else []
    texts = [
        turn.get(key) for turn in turns if isinstance(turn, dict) for key in ("role", "content")
    ]
    return _is_text(value) or (len(texts) == 2 * len(turns) > 0 and all(map(_is_text, texts)))


_FITS: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, int | str),
    "prompt": _is_prompt,
    **dict.fromkeys(("policy", "criterion", *OPPONENTS), _is_text),
}
