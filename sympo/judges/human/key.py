"""The key of a study: whose response is whose. It stays with the researcher."""

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
    """A line of a cell's samples, counted from 0, and whether A is the policy's response."""

    cell: int
    row: int
    policy_first: bool


@dataclass(frozen=True)
class Key:
    """The items of a page.

    against, samples: as for any judge. items: by their names on the page. equal: lines
    with two equal responses, ties that nobody is asked about.
    """

    study: str
    against: str
    samples: str
    cells: list[KeyCell]
    items: dict[str, KeyItem]
    equal: list[KeyItem]

    def write(self, path: Path) -> None:
        """Raises BadInput if the file is another study's key, without which that study's answers
        are worthless."""
        if path.exists() and (other := Key.read(path).study) != self.study:
            raise BadInput(
                f"{path} is the key of another study, {other}: its answers could not be read "
                "without it, so choose another --out, or delete it"
            )
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Key":
        """Raises BadInput if the file is not a key."""
        content = read_json(path)
        try:
            found = cls(
                **{name: content[name] for name in ("study", "against", "samples")},
                cells=[KeyCell(**cell) for cell in content["cells"]],
                items={name: KeyItem(**item) for name, item in content["items"].items()},
                equal=[KeyItem(**item) for item in content["equal"]],
            )
            found._check()
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{path} is not the key of a study, as `export` writes it") from error
        return found

    def _check(self) -> None:
        """Raise TypeError for a value of another type, or a line that no cell has."""
        texts = [self.study, self.against, self.samples]
        texts += [text for cell in self.cells for text in (cell.folder, cell.method, cell.digest)]
        sound = all(isinstance(text, str) for text in texts)
        for item in (*self.items.values(), *self.equal):
            places = type(item.cell) is int and type(item.row) is int
            sound &= places and 0 <= item.cell < len(self.cells) and item.row >= 0
            sound &= isinstance(item.policy_first, bool)
        if not sound:
            raise TypeError


def relative(folder: Path, key: Path) -> str:
    """A folder as seen from the key, so that the two can be moved together."""
    return Path(os.path.relpath(folder, key.absolute().parent)).as_posix()


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises BadInput."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise BadInput(f"{path} cannot be read: its JSON is nested too deep") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
