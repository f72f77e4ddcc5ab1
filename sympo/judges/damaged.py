"""Files that were damaged: kept beside, under a name that says so, where nothing reads them."""

from itertools import count
from pathlib import Path


def set_aside(path: Path) -> Path:
    """Rename a file to `<name>.damaged`, or `<name>.damaged-2` and so on; its new path."""
    for number in count(1):
        free = path.with_name(f"{path.name}.damaged" + (f"-{number}" if number > 1 else ""))
        if not free.exists():
            return path.replace(free)
    raise AssertionError("a name is always free")
