"""Packed outcomes of every test item of an evaluation, for computing intervals.

An outcome is 1 (correct, or a win), 0 (incorrect, or a loss) or 1/2 (a tie). A thousand take 170
characters, or 340 if there are ties.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

# of packed outcomes and test sets; raise it when either changes
FORMAT = "1"


@dataclass(frozen=True)
class TestSet:
    """The n items that an evaluation scores, in the order of their ids.

    ids: (n,) uint64, distinct and increasing. units: (n, k) uint64, the sampling units: items that
    share a unit are correlated. A pair of images has its two images as units (k = 2); a pair of
    responses, or a sampled response, has its prompt (k = 1).
    """

    __test__ = False  # pytest would collect the name

    ids: np.ndarray
    units: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """A hash of ids and units, as 16 hexadecimal digits."""
        content = self.ids.tobytes() + self.units.tobytes()
        return hashlib.blake2b(content, digest_size=8).hexdigest()

    def dump(self) -> bytes:
        """The bytes of an .npz file."""
        file = io.BytesIO()
        np.savez_compressed(file, format=FORMAT, ids=self.ids, units=self.units)
        return file.getvalue()

    @classmethod
    def load(cls, content: bytes) -> "TestSet":
        """Load what `dump` wrote; raises ValueError if it is damaged or has another format."""
        try:
            with np.load(io.BytesIO(content)) as found:
                if str(found["format"]) != FORMAT:
                    raise ValueError(f"test set has format {found['format']}, not {FORMAT}")
                return cls(found["ids"], found["units"])
        except ValueError:
            raise
        except Exception as error:  # whatever zipfile and zlib raise on broken bytes
            raise ValueError(f"not a readable test set ({type(error).__name__})") from error


class Scored:
    """Packs the scores of items, which may come in any order."""

    def __init__(self, ids: np.ndarray, units: np.ndarray) -> None:
        self._order = np.argsort(ids, kind="stable")
        units = np.asarray(units, dtype=np.uint64).reshape(len(ids), -1)
        self.test_set = TestSet(np.asarray(ids, np.uint64)[self._order], units[self._order])

    def pack(self, scores: npt.ArrayLike) -> str:
        """Pack outcomes (n,) of 0, 1/2 and 1 as text: format, test set, wins, and ties if any."""
        ordered = np.asarray(scores)[self._order]
        ties = ordered == 0.5
        parts = [FORMAT, self.test_set.digest, _bits(ordered == 1)]
        return ":".join(parts + [_bits(ties)] * bool(ties.any()))


def prompt_keys(prompts: Iterable[Any]) -> np.ndarray:
    """A key for each prompt, equal for equal prompts; (n,) uint64. prompts: JSON values."""
    return np.array(
        [
            int.from_bytes(
                hashlib.blake2b(json.dumps(prompt, sort_keys=True).encode(), digest_size=8).digest()
            )
            for prompt in prompts
        ],
        dtype=np.uint64,
    )


def set_digest(packed: str) -> str:
    """The digest of the test set of packed outcomes; raises ValueError for another format."""
    parts = packed.split(":")
    if parts[0] != FORMAT or len(parts) not in (3, 4):
        raise ValueError(f"outcomes have another format: {packed[:40]!r}")
    return parts[1]


def unpack(packed: Sequence[str], n: int) -> np.ndarray:
    """Unpack the outcomes of several evaluations on one test set of n items.

    Returns (len(packed), n) float32; raises ValueError if a text does not hold n outcomes.
    """
    parts = [text.split(":") for text in packed]
    scores = _unbits([part[2] for part in parts], n).astype(np.float32)
    tied = [place for place, part in enumerate(parts) if len(part) == 4]
    if tied:
        scores[tied] += 0.5 * _unbits([parts[place][3] for place in tied], n)
    return scores


def _bits(flags: np.ndarray) -> str:
    return base64.b64encode(np.packbits(flags).tobytes()).decode()


def _unbits(texts: Sequence[str], n: int) -> np.ndarray:
    size = -(-n // 8)
    content = [base64.b64decode(text, validate=True) for text in texts]
    if any(len(one) != size for one in content):
        raise ValueError(f"outcomes do not match {n} items")
    rows: Any = np.frombuffer(b"".join(content), np.uint8).reshape(len(texts), size)
    return np.unpackbits(rows, axis=1, count=n)
