"""Content of the page in few bytes: numbers as people read them, JSON compressed into text."""

import base64
import gzip
import json

import numpy as np
import numpy.typing as npt

DIGITS = 5  # significant ones of every number on the page


def numbers(values: npt.ArrayLike, factor: float = 1.0) -> list[float | None]:
    """Values with `DIGITS` significant digits; None for what is not finite."""
    given = factor * np.asarray(values, dtype=float)
    size = np.abs(given)
    with np.errstate(divide="ignore", invalid="ignore"):
        places = DIGITS - 1 - np.floor(np.log10(np.where(size > 0, size, 1.0)))
    return [
        round(value, int(place)) + 0.0 if finite else None
        for value, place, finite in zip(
            given.tolist(), np.nan_to_num(places).tolist(), np.isfinite(given).tolist(), strict=True
        )
    ]


def packed(content: object) -> str:
    """JSON, compressed, as base64: what the page's `unpacked` reads."""
    return packed_bytes(as_json(content).encode())


def packed_bytes(content: bytes) -> str:
    # no time stamp: equal contents give equal bytes
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def as_json(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)
