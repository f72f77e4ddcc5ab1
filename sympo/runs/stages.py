"""Shared stages: made once, keyed by everything that determines them, reused by every sweep."""

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

from sympo.disk import set_aside, write_atomically
from sympo.distributed import processes
from sympo.identity import FORMAT, NAME, Identity
from sympo.runs.adoption import BESIDE, old_stages

# settings that name the sampler of the responses in a stage, or in the pairs behind it
DRAWN_BY = ("sampler", "pairs.sampler")
# stages that this process has reported, and stages whose content it has verified
_reported: set[Path] = set()
_read: set[tuple[Path, int]] = set()


class Stages:
    """The folder of shared stages, `<root>/<name>-<16 hex>/`, each with a `key.json` that holds the
    size and digest of every other file.

    A damaged stage is set aside as `<name>-<16 hex>.damaged` and made again. Sizes are checked
    whenever a stage is opened, digests once per process. Stages of earlier versions may lack
    digests: these are trusted, and their digests recorded.

    note: receives a line on the origin of each stage. since: stages made before this moment, in
    seconds since the epoch, are made again. together: whether the processes that train a cell
    together ask for each stage at the same point, so that they can share its making.
    """

    def __init__(
        self,
        root: str | Path,
        note: Callable[[str], None],
        since: float = 0.0,
        together: bool = False,
    ) -> None:
        self.root, self.note, self.since, self.together = Path(root), note, since, together

    def get(self, name: str, key: Identity, make: Callable[[Path], None]) -> Path:
        """The folder of a stage, filled by `make(folder)` if it does not exist.

        key: everything that determines the stage. One process makes it while others wait; a stage
        is either complete or absent. Processes that train a cell together all call `make`, which
        shares the work, and of which only the first process writes to the folder.
        """
        if not self.together or not processes.several():
            return self._get(name, key, make)
        if not processes.first():
            return _follow(make)

        def announced(folder: Path) -> None:
            processes.tell((False, folder))
            make(folder)

        found = self._get(name, key, announced)
        processes.tell((True, found))
        return found

    def _get(self, name: str, key: Identity, make: Callable[[Path], None]) -> Path:
        folder = self.root / f"{name}-{key.digest(8)}"
        if self._there(folder) and not _fault(folder, key):
            if folder not in _reported:
                self.note(f"{name}: reused, {folder}")
            _reported.add(folder)
            return folder
        self.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.root / f".{folder.name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.note(f"{name}: waiting for another process to make it")
            lock.acquire()
        try:
            if not folder.is_dir() and self._adopt(name, key, folder):
                return folder
            if self._there(folder):
                if not (fault := _fault(folder, key)):
                    self.note(f"{name}: made by another process, {folder}")
                    return folder
                self._set_aside(name, folder, fault)
            self._make(name, folder, key, make)
            return folder
        finally:
            lock.release()

    def has(self, name: str, key: Identity) -> bool:
        """Whether a stage exists; its files are not checked."""
        return self._there(self.root / f"{name}-{key.digest(8)}")

    def _adopt(self, name: str, key: Identity, folder: Path) -> bool:
        """Adopt the stage that an earlier version kept under another key, if there is one; note why
        others are not used."""
        parts = {
            k: v[NAME] for k, v in key.settings.items() if isinstance(v, Mapping) and NAME in v
        }
        for old in old_stages(self.root, name, parts):
            digest, reason = old.identity and old.identity.digest(8), old.reason
            if digest == key.digest(8):
                reason = _damaged_file(_files(old.folder, old.files), whole=True)
                if not reason:
                    made = (old.folder / "key.json").stat().st_mtime_ns
                    _write_key(old.folder, name, key, adopted_from=old.folder.name)
                    os.utime(old.folder / "key.json", ns=(made, made))  # keep its age
                    old.folder.rename(folder)
                    self.note(f"{name}: uses {old.folder.name}, made by an earlier version")
                    return self._there(folder)
            elif digest == key.without(*DRAWN_BY).digest(8):
                reason = "it does not record its sampler"
            if reason and old.folder not in _reported:
                self.note(f"{name}: {old.folder.name} is not used: {reason}")
                _reported.add(old.folder)
        return False

    def _there(self, folder: Path) -> bool:
        key = folder / "key.json"
        return key.is_file() and key.stat().st_mtime >= self.since

    def _set_aside(self, name: str, folder: Path, fault: str) -> None:
        self.note(f"{name}: {fault}; set aside as {set_aside(folder)}, making it again")

    def _make(self, name: str, folder: Path, key: Identity, make: Callable[[Path], None]) -> None:
        for left in self.root.glob(f".{folder.name}.*"):  # left by a killed process
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        self.note(f"{name}: making")
        started = time.monotonic()
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=self.root))
        try:
            make(made)
            _write_key(made, name, key)
            made.chmod(0o755)
            if folder.is_dir():
                folder.replace(made.with_suffix(".old"))
            made.replace(folder)
            shutil.rmtree(made.with_suffix(".old"), ignore_errors=True)
            _reported.add(folder)
            _read.add(_as_made(folder))
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self.note(f"{name}: made in {time.monotonic() - started:.1f} s, {folder}")


def _follow(make: Callable[[Path], None]) -> Path:
    """Share the making of a stage until the first process has it ready."""
    while True:
        found: tuple[bool, Path] = processes.told()
        ready, folder = found
        if ready:
            return folder
        make(folder)


def _write_key(folder: Path, name: str, key: Identity, **more: str) -> None:
    files = {
        str(file.relative_to(folder)): [file.stat().st_size, _content(file)]
        for file in sorted(folder.rglob("*"))
        # skip its temporary file as well, which another process may be writing
        if file.name != "key.json" and not file.name.startswith(".key.json.") and file.is_file()
    }
    content = {
        **key.settings,
        "stage": name,
        "identity": FORMAT,
        "at_default": sorted(key.at_default),
        "files": files,
        **more,
    }
    write_atomically(folder / "key.json", json.dumps(content, sort_keys=True, indent=1))


def _content(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def _fault(folder: Path, key: Identity) -> str:
    """A sentence on what is damaged in a stage; empty if it is intact."""
    file = folder / "key.json"
    try:
        as_made = _as_made(folder)
        stored = json.loads(file.read_bytes())
        settings = {name: value for name, value in stored.items() if name not in BESIDE}
        at_default = [str(name) for name in stored["at_default"]]
        found = f"{stored['stage']}-{Identity(settings, frozenset(at_default)).digest(8)}"
        files = _files(folder, stored["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{file} is damaged"
    if folder.name != found:
        return f"{file} does not belong to its stage"
    if changed := key.contradiction(settings, at_default):
        return f"{folder} was made with other settings: {changed}"
    fault = _damaged_file(files, whole=as_made not in _read)
    if not fault:
        _read.add(as_made)
    return fault


def _files(folder: Path, stored: Mapping[str, Any]) -> dict[Path, tuple[int, str]]:
    """Size and digest of each file of a stage, from its key.json."""
    return {folder / name: (int(size), str(content)) for name, (size, content) in stored.items()}


def _damaged_file(files: Mapping[Path, tuple[int, str]], whole: bool) -> str:
    """A sentence on the first damaged file; empty if all are intact. `whole` compares digests as
    well as sizes."""
    for path, (size, _) in files.items():
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} is damaged: {path.stat().st_size} of {size} bytes"
    for path, (_, content) in files.items() if whole else ():
        if _content(path) != content:
            return f"{path} is damaged: its content differs from what was made"
    return ""


def _as_made(folder: Path) -> tuple[Path, int]:
    return folder, (folder / "key.json").stat().st_mtime_ns
