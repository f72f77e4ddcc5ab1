"""Whose answer is whose: the file that stays with the researcher."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sympo.disk import write_atomically
from sympo.types import BadInput


@dataclass(frozen=True)
class KeyCell:
    """A run folder, relative to the key's; method: its name in tables; digest: of its samples."""

    folder: str
    method: str
    digest: str


@dataclass(frozen=True)
class KeyItem:
    """A line of a cell's samples, counted from 0, and whether A is the policy's answer to it."""

    cell: int
    row: int
    policy_first: bool


@dataclass(frozen=True)
class Key:
    """What a page's items are.

    against, samples: as for any judge. items: by the name that the page gives them. equal: lines
    whose two answers are one, ties that nobody is asked about.
    """

    study: str
    against: str
    samples: str
    cells: list[KeyCell]
    items: dict[str, KeyItem]
    equal: list[KeyItem]

    def write(self, path: Path) -> None:
        """Raises BadInput where the file is another study's key, without which its answers are
        worth nothing."""
        if path.exists() and (other := Key.read(path).study) != self.study:
            raise BadInput(
                f"{path} is the key of another study, {other}: its answers could not be read "
                "without it, so choose another --out, or delete it"
            )
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Raises BadInput where the file is no key."""
        content = read_json(path)
        try:
            return cls(
                **{name: str(content[name]) for name in ("study", "against", "samples")},
                cells=[KeyCell(**cell) for cell in content["cells"]],
                items={name: KeyItem(**item) for name, item in content["items"].items()},
                equal=[KeyItem(**item) for item in content["equal"]],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} is no key of a study, which `export` writes") from error


def relative(folder: Path, key: Path) -> str:
    """A folder as seen from the key, so that the two can be moved together."""
    return Path(os.path.relpath(folder, key.absolute().parent)).as_posix()


def read_json(path: Path) -> Any:
    """The content of a JSON file; BadInput where there is none."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is no JSON: {error}") from error
