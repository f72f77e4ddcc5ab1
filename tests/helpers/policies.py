"""Policies of the embedded language that train in seconds, and what they leave."""

import json
from pathlib import Path

# the default language and model, fewer and shorter
SMALL_POLICY = [
    "job=policy", "dataset.corpus_texts=400", "dataset.train_pairs=96",
    "dataset.validation_pairs=32", "dataset.test_pairs=32", "job.epochs=2", "job.batch_size=32",
    "job.sft.epochs=1", "job.sampling.prompts=32", "model.hidden_size=16",
    "model.intermediate_size=24", "model.heads=2", "draw=false",
]  # fmt: skip


def history(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
