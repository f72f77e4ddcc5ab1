"""Random draws derived by name from the seed of a cell.

Every draw takes a generator made here, so that it depends on the seed and on its purpose, never on
earlier draws. Seed 0 is a seed.
"""

import hashlib

import numpy as np

# the constants of splitmix64 (Steele, Lea, Flood 2014), a 64-bit mixer that passes BigCrush
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def derive(seed: int, *names: str) -> int:
    """A 63-bit seed for one purpose: the BLAKE2b hash of the seed and the names."""
    text = "/".join([str(seed), *names])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *names: str) -> np.random.Generator:
    """A NumPy generator for one purpose."""
    return np.random.default_rng(derive(seed, *names))


def uniform(seed: int, name: str, ids: np.ndarray) -> np.ndarray:
    """One uniform draw in [0, 1) per id, keyed by (seed, name, id) alone.

    The draw of a pair does not depend on the other pairs or on their order, so a subset of a data
    set keeps its flips.

    ids: (n,) uint64. Returns (n,) float64 with 53 random bits: the output of splitmix64 started at
    mix(id) + key.
    """
    key = np.uint64(derive(seed, name))
    with np.errstate(over="ignore"):
        bits = _mix(_mix(ids.astype(np.uint64) + _GOLDEN) + key)
    draws: np.ndarray = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return draws


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed
