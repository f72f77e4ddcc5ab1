"""Memory and time of reading a large preference file, and of its TF-IDF features.

    python -m experiments.benchmarks.read_memory

Writes a JSONL file of made-up pairs about as long as HH's (three texts of 60 words, 1.3 kB a row),
reads it with `dataset=preferences`, and computes the features of `model=tfidf` from its training
pairs, each in a process of its own; peaks are those of the process, less what it held after its
imports. The peer of a read file is the file; that of features is scikit-learn's TfidfVectorizer,
whose features are the same. Bytes per row are peaks over rows. Needs Linux, but no account, network
or GPU.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from experiments.benchmarks.isolated import Failure, alone
from experiments.benchmarks.results import processor, write
from sympo.data.preferences import PreferenceSet
from sympo.models.texts.tfidf import Tfidf

LETTERS = np.array(list("etaoinshrdlucmfwypvbgk"))
WORDS, MEAN_WORDS = 30_000, 60


class Cost(NamedTuple):
    """Peak bytes above what was held before, and seconds."""

    peak: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.jsonl"
        write_pairs(file, arguments.rows)
        found = measured(file, arguments.rows)
    print(write(arguments.out / "read_memory.json", found, processor(), pairs=arguments.rows))


def write_pairs(file: Path, rows: int) -> None:
    """Write pairs of texts whose words are as unequally frequent as in a language, and half follow
    the word before."""
    draw = np.random.default_rng(0)
    lengths = np.maximum(1, draw.normal(2 + np.log2(np.arange(WORDS) + 2) / 2.2, 1.2)).astype(int)
    words = ["".join(draw.choice(LETTERS, length)) for length in lengths]
    often = np.cumsum(1 / np.arange(2, WORDS + 2))

    def text() -> str:
        count = int(draw.gamma(2, MEAN_WORDS / 2)) + 4
        places = np.searchsorted(often, draw.random(count) * often[-1])
        follows = draw.random(len(places)) < 0.6
        for i in range(1, len(places)):
            if follows[i] and places[i] > 50:
                places[i] = (places[i - 1] * 7919 + places[i] % 8) % WORDS
        return " ".join(words[place] for place in places)

    with file.open("w") as opened:
        for _ in range(rows):
            row = {"prompt": text(), "chosen": text(), "rejected": text()}
            opened.write(json.dumps(row) + "\n")


def measured(file: Path, rows: int) -> list[dict[str, Any]]:
    """The rows of the table."""
    read = _needed(alone(_read, file))
    ours, peer = (_needed(alone(work, file)) for work in (_ours, _scikit_learn))
    return [
        row(f"reading {rows:,} rows", read.peak / rows, file.stat().st_size / rows, "the file",
            "bytes per row"),
        row("TF-IDF features: peak_memory", ours.peak / rows, peer.peak / rows, "scikit-learn",
            "bytes per row"),
        row("TF-IDF features: time", ours.seconds, peer.seconds, "scikit-learn", "s"),
    ]  # fmt: skip


def row(name: str, ours: float, peer: float, peer_is: str, unit: str) -> dict[str, Any]:
    return {"name": name, "ours": ours, "peer": peer, "peer_is": peer_is, "unit": unit,
            "ratio": peer / ours}  # fmt: skip


def cost(work: Callable[[], object]) -> Cost:
    """What a call costs in this process."""
    before, start = _held(), time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - start
    del kept
    return Cost(_held("VmHWM") - before, seconds)


def _read(file: Path) -> Cost:
    data = PreferenceSet(path=str(file))
    return cost(data.check)


def _ours(file: Path) -> Cost:
    import sklearn.preprocessing  # noqa: F401  before it counts

    sides = _sides(file)
    return cost(lambda: Tfidf().features(sides, []))


def _scikit_learn(file: Path) -> Cost:
    sides, same = _sides(file), Tfidf()

    def work() -> object:
        vectorizer = TfidfVectorizer(
            ngram_range=(1, same.longest), min_df=same.min_df, sublinear_tf=True, dtype=np.float32
        )
        vectorizer.fit([text for side in sides for text in side])
        return [vectorizer.transform(side) for side in sides]

    return cost(work)


def _sides(file: Path) -> Sequence[Sequence[str]]:
    with file.open() as opened:
        pairs = [(row["chosen"], row["rejected"]) for row in map(json.loads, opened)]
    return [list(side) for side in zip(*pairs, strict=True)]


def _needed(found: Cost | Failure) -> Cost:
    if isinstance(found, Failure):
        sys.exit(found.text)
    return found


def _held(line: str = "VmRSS") -> int:
    """Bytes of memory that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(one.split()[1]) * 1024 for one in lines if one.startswith(f"{line}:"))


if __name__ == "__main__":
    main()
