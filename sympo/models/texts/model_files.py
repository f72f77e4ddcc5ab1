"""Files of models and tokenizers in the hub's format: read, checked, fingerprinted."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


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
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return _content_of(tuple(map(_with_state, files)))


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal, read again if the file changed."""
    return _sha256_of(_with_state(file))


_WithState = tuple[Path, int, int]


def _with_state(file: Path) -> _WithState:
    state = file.stat()
    return file, state.st_size, state.st_mtime_ns


@lru_cache(maxsize=8)
def _content_of(files: tuple[_WithState, ...]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path, *_ in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _sha256_of(file: _WithState) -> str:
    with file[0].open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
