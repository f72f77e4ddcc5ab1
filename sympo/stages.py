"""Stages that cells share: made once, kept under what determines them, reused by every sweep."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sympo.records import write_atomically

# of which this process has said where they came from
_told: set[Path] = set()


class Stages:
    """The folder of shared stages, `<root>/<name>-<16 hex>/`, each with its `key.json`.

    note: is told where each stage came from. since: a stage made before this moment, in seconds
    since the epoch, is made anew.
    """

    def __init__(self, root: str | Path, note: Callable[[str], None], since: float = 0.0) -> None:
        self.root, self.note, self.since = Path(root), note, since

    def _there(self, folder: Path) -> bool:
        key = folder / "key.json"
        return key.is_file() and key.stat().st_mtime >= self.since

    def get(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The folder of a stage; where it is not there, `make(folder)` fills it.

        key: all that determines the stage. One process makes it, others wait; a stage is there
        whole or not at all.
        """
        text = json.dumps({"stage": name, **key}, sort_keys=True, indent=1)
        folder = self.root / f"{name}-{digest(key)}"
        if self._there(folder):
            if folder not in _told:
                self.note(f"{name}: kept from before, {folder}")
            _told.add(folder)
            return folder
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.note(f"{name}: another process makes it, waiting")
            lock.acquire()
        try:
            if self._there(folder):
                self.note(f"{name}: made by another process, {folder}")
                return folder
            for left in self.root.glob(f".{folder.name}.*"):  # by a process that was killed
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
            self.note(f"{name}: making")
            started = time.monotonic()
            made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=self.root))
            try:
                make(made)
                write_atomically(made / "key.json", text)
                made.chmod(0o755)
                if folder.is_dir():
                    folder.replace(made.with_suffix(".old"))
                made.replace(folder)
                shutil.rmtree(made.with_suffix(".old"), ignore_errors=True)
                _told.add(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
            self.note(f"{name}: made in {time.monotonic() - started:.1f} s, {folder}")
            return folder
        finally:
            lock.release()


def digest(key: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits over a stage's key."""
    return hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
