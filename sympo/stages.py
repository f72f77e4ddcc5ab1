"""Stages that cells share: made once, kept under what determines them, reused by every sweep."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sympo.disk import write_atomically

# stages that this process has named the origin of, and those it has read whole, as made then
_told: set[Path] = set()
_read: set[tuple[Path, int]] = set()


class Stages:
    """The folder of shared stages, `<root>/<name>-<16 hex>/`, each with its `key.json`, which holds
    size and digest of every other file.

    A stage whose files are not what was made is set aside as `<name>-<16 hex>.damaged` and made
    again; sizes are looked at whenever it is opened, and digests once in a process. Stages of
    before there were digests are taken as they are, and theirs recorded.

    note: is told where each stage came from. since: a stage made before this moment, in seconds
    since the epoch, is made anew.
    """

    def __init__(self, root: str | Path, note: Callable[[str], None], since: float = 0.0) -> None:
        self.root, self.note, self.since = Path(root), note, since

    def get(self, name: str, key: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
        """The folder of a stage; where it is not there, `make(folder)` fills it.

        key: all that determines the stage. One process makes it, others wait; a stage is there
        whole or not at all.
        """
        folder = self.root / f"{name}-{digest(key)}"
        if self._there(folder) and not _fault(folder):
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
                if not (fault := _fault(folder)):
                    self.note(f"{name}: made by another process, {folder}")
                    return folder
                self._set_aside(name, folder, fault)
            self._make(name, folder, {"stage": name, **key}, make)
            return folder
        finally:
            lock.release()

    def _there(self, folder: Path) -> bool:
        key = folder / "key.json"
        return key.is_file() and key.stat().st_mtime >= self.since

    def _set_aside(self, name: str, folder: Path, fault: str) -> None:
        aside = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)  # of another time
        folder.replace(aside)
        self.note(f"{name}: {fault}; set aside as {aside}, made again")

    def _make(
        self, name: str, folder: Path, key: Mapping[str, Any], make: Callable[[Path], None]
    ) -> None:
        for left in self.root.glob(f".{folder.name}.*"):  # by a process that was killed
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        self.note(f"{name}: making")
        started = time.monotonic()
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=self.root))
        try:
            make(made)
            _write_key(made, key)
            made.chmod(0o755)
            if folder.is_dir():
                folder.replace(made.with_suffix(".old"))
            made.replace(folder)
            shutil.rmtree(made.with_suffix(".old"), ignore_errors=True)
            _told.add(folder)
            _read.add(_as_made(folder))
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self.note(f"{name}: made in {time.monotonic() - started:.1f} s, {folder}")


def digest(key: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits over a stage's key."""
    return hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()


def _write_key(folder: Path, key: Mapping[str, Any]) -> None:
    files = {
        str(file.relative_to(folder)): [file.stat().st_size, _content(file)]
        for file in sorted(folder.rglob("*"))
        # nor what another process writes beside it, which is gone in a moment
        if file.name != "key.json" and not file.name.startswith(".key.json.") and file.is_file()
    }
    text = json.dumps({**key, "files": files}, sort_keys=True, indent=1)
    write_atomically(folder / "key.json", text)


def _content(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _fault(folder: Path) -> str:
    """What is damaged in a stage, in a sentence; empty if it is whole."""
    file = folder / "key.json"
    try:
        as_made = _as_made(folder)
        key = json.loads(file.read_bytes())
        of_its_name = folder.name == f"{key['stage']}-{digest(_settings(key))}"
        files = {
            folder / name: (int(size), str(content))
            for name, (size, content) in key.get("files", {}).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{file} is damaged"
    if not of_its_name:
        return f"{file} is not that of its stage"
    if "files" not in key:
        _write_key(folder, key)
        os.utime(file, ns=(as_made[1], as_made[1]))  # it is as old as it was
        return ""
    for path, (size, _) in files.items():
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} is damaged, {path.stat().st_size} bytes of {size}"
    if as_made not in _read:
        for path, (_, content) in files.items():
            if _content(path) != content:
                return f"{path} is damaged, its content is not what was made"
        _read.add(as_made)
    return ""


def _as_made(folder: Path) -> tuple[Path, int]:
    return folder, (folder / "key.json").stat().st_mtime_ns


def _settings(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in ("stage", "files")}
