"""Atomic writes, detection of damaged files, and removal of what killed processes leave."""

import glob
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from sympo.types import BadInput

# temporary files of `write_atomically`, and folders that are built beside their destination
# no wider: report folders also hold users' files, such as `.zcompdump-5.9`
_TEMPORARY = re.compile(
    r"\..+\.(csv|json|jsonl|npz|yaml)\.(?P<pid>\d+)|\.report-((?P<host>.+)-(?P<owner>\d+)-)?\w+"
)
SECONDS_UNTIL_LITTER = 24 * 60 * 60
_OF_THE_REST = " is the BLAKE2b of what follows"
_SEAL = "content_digest"
_SEALED = re.compile(rb',\s*"content_digest": "([^"]*)"\s*}\s*\Z')
# of a file, on common file systems
LONGEST_NAME = 255


def check_folder(key: str, folder: str | Path) -> None:
    """Refuse a folder that is not writable; raises BadInput, which names the setting."""
    if not str(folder):
        raise BadInput(f"{key} is empty: give a folder, such as .")
    path = Path(folder).absolute()
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            (path / ("x" * LONGEST_NAME)).lstat()  # leave room for the names of files inside it
        present = next(place for place in (path, *path.parents) if place.exists())
        writable = present.is_dir() and os.access(present, os.W_OK | os.X_OK)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{key}={folder} is not allowed: {reason.lower()}") from error
    if not writable:
        raise BadInput(f"{key}={folder}: {present} is not a writable folder")


def read_if_there(file: Path) -> bytes | None:
    """The content of a file; None if it does not exist."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def content_digest(content: bytes) -> str:
    """A hash of a file's content, as 16 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def with_digest(config_yaml: str) -> str:
    """A config under a first line with its digest, which reveals damage."""
    return f"# {content_digest(config_yaml.encode())}{_OF_THE_REST}\n{config_yaml}"


def config_is_garbled(content: bytes) -> bool:
    """Whether a `config.yaml` differs from what a run wrote. Older runs wrote no digest; theirs
    counts as garbled only if it is not text that begins like settings."""
    first, _, rest = content.partition(b"\n")
    if first.endswith(_OF_THE_REST.encode()):
        return first != f"# {content_digest(rest)}{_OF_THE_REST}".encode()
    try:
        return re.match(r"[\w.]+:", content.decode()) is None or "\0" in content.decode()
    except UnicodeDecodeError:
        return True


def sealed(content: Mapping[str, Any], indent: int | None = None) -> str:
    """A JSON object with a digest of the rest as its last entry, which reveals damage."""
    text = json.dumps({key: value for key, value in content.items() if key != _SEAL}, indent=indent)
    body, comma = text[:-1].rstrip(), ", " if indent is None else f",\n{' ' * indent}"
    end = text[len(body) :]
    return f'{body}{comma}"{_SEAL}": "{_seal(body.encode())}"{end}'


def seal_is_broken(content: bytes) -> bool:
    """Whether the rest of a sealed JSON object differs from what was sealed; False if there is no
    seal, which older files lack."""
    found = _SEALED.search(content, max(0, len(content) - 100))
    return found is not None and found[1] != _seal(content[: found.start()]).encode()


def _seal(body: bytes) -> str:
    return content_digest(body + b"}")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file atomically and durably: it is complete or absent, even after a power cut. What
    killed processes have left of writing it is removed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        pid = left.suffix[1:]
        if pid.isdecimal() and _is_abandoned(left, pid):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # such as a full disk
        temporary.unlink(missing_ok=True)
        raise


def set_aside(path: Path, folder: Path | None = None) -> Path:
    """Rename a damaged file or folder to `<name>.damaged`, or `<name>.damaged-2` and so on, which
    nothing reads; returns the new path. folder: where to keep it, by default where it is."""
    for number in count(1):
        name = f"{path.name}.damaged" + (f"-{number}" if number > 1 else "")
        free = (folder or path.parent) / name
        if not free.exists():
            return path.replace(free)
    raise AssertionError("unreachable: some name is always free")


def temporary_name(purpose: str) -> str:
    """The prefix of a temporary folder's name, which identifies the process that owns it."""
    return f".{purpose}-{socket.gethostname()}-{os.getpid()}-"


def litter(folder: Path) -> list[Path]:
    """Temporary files and folders whose process has died, or that are older than a day."""
    return [
        path
        for path in folder.iterdir()
        if (found := _TEMPORARY.fullmatch(path.name))
        and _is_abandoned(path, found["pid"] or found["owner"], found["host"])
    ]


def _is_abandoned(path: Path, pid: str | None, host: str | None = None) -> bool:
    with suppress(OSError):
        if time.time() - path.lstat().st_mtime > SECONDS_UNTIL_LITTER:
            return True
    if pid is None or host not in (None, socket.gethostname()):
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def remove_litter(folder: Path) -> None:
    """Remove what killed processes left in a folder."""
    for path in litter(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
