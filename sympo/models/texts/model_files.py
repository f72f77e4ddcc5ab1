"""Files of models and tokenizers in the hub's format: read, checked, fingerprinted."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sympo.disk import write_atomically
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
# the digests of a saved model's files, which `b2sum --check` reads; no part of its fingerprint
SEAL = "saved.b2sums"


@lru_cache(maxsize=4)
def tokenizer(folder: str, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    """The tokenizer in a folder; raises BadInput if it does not load."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"the tokenizer in {folder} does not load: {reason}") from error


def lacks_tokenizer(folder: Path) -> str:
    """Which files of a tokenizer a folder lacks; empty if it has one."""
    names = ("tokenizer.json", "tokenizer.model", "vocab.json")
    if any((folder / name).is_file() for name in names):
        return ""
    return f"lacks a tokenizer: there is none of {', '.join(names)}"


def check_weights(file: Path) -> None:
    """Raise BadInput for an incomplete safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file} is not a complete safetensors file: {error}") from error


def content(folder: Path, patterns: tuple[str, ...]) -> str:
    """A hash of the names and the content of the files that match, read again if one changed."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        digest.update(file.name.encode())
        digest.update(_blake2b_of(_with_state(file)))
    return digest.hexdigest()


def seal(folder: Path) -> None:
    """Write the digests of a saved model's files beside them: call it when the rest is written."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name != SEAL]
    lines = [f"{_blake2b_of(_with_state(file)).hex()}  {file.name}\n" for file in files]
    write_atomically(folder / SEAL, "".join(lines))


def check_seal(folder: Path) -> None:
    """Raise BadInput if a file differs from what a run saved; a folder without digests passes."""
    if not (folder / SEAL).is_file():
        return
    for line in (folder / SEAL).read_text(errors="replace").splitlines() or [""]:
        digest, _, name = line.partition("  ")
        file = folder / name if name else folder / SEAL
        if not file.is_file() or _blake2b_of(_with_state(file)).hex() != digest:
            raise BadInput(
                f"{file} differs from what its run saved: copy it again, or run the cell again "
                f"with force=true; if you changed it on purpose, delete {SEAL} beside it"
            )


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, read again if the file changed."""
    return _sha256_of(_with_state(file))


_WithState = tuple[Path, int, int]


def _with_state(file: Path) -> _WithState:
    state = file.stat()
    return file, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=1024)
def _blake2b_of(file: _WithState) -> bytes:
    with file[0].open("rb") as opened:
        return hashlib.file_digest(opened, "blake2b").digest()


@lru_cache(maxsize=8)
def _sha256_of(file: _WithState) -> str:
    with file[0].open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
