"""How verdicts and judged files were written while their keys held Python paths; frozen."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sympo.types import Comparison, Verdict

_TABLES = """
CREATE TABLE IF NOT EXISTS judges (judge TEXT PRIMARY KEY, settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
    key BLOB PRIMARY KEY, judge TEXT NOT NULL, choice REAL, raw TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, asked REAL NOT NULL,
    digest BLOB
) WITHOUT ROWID;
"""


def openai_key(templates: Mapping[str, str], **settings: Any) -> dict[str, Any]:
    """What `OpenAIJudge.key()` was."""
    usual = {
        "base_url": "https://api.openai.com/v1", "model": "gpt-4o-mini", "temperature": 0.0,
        "max_tokens": 256, "seed": 0, "prompts": dict(templates),
    }  # fmt: skip
    return {"judge": "sympo.judges.openai.OpenAIJudge", **usual, **settings}


def settings_hash(settings: Mapping[str, Any]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def write_verdicts(
    path: Path, key: Mapping[str, Any], verdicts: Sequence[tuple[Comparison, Verdict]]
) -> None:
    settings = json.dumps(key, sort_keys=True)
    with sqlite3.connect(path) as db:
        db.executescript(_TABLES)
        judge = settings_hash(key)
        db.execute("INSERT OR IGNORE INTO judges VALUES (?, ?)", (judge, settings))
        for comparison, verdict in verdicts:
            text = json.dumps([settings, asdict(comparison)], ensure_ascii=True, sort_keys=True)
            row = (
                hashlib.blake2b(text.encode(), digest_size=16).digest(), judge, verdict.choice,
                verdict.raw, verdict.prompt_tokens, verdict.completion_tokens, time.time(),
            )  # fmt: skip
            digest = hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
            db.execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, digest))
    db.close()


def write_judged(
    folder: Path,
    name: str,
    key: Mapping[str, Any],
    samples: Mapping[str, Any],
    against: str = "chosen",
    protocol: str = "both_orders",
) -> Path:
    """The judged file of a run folder; its path."""
    config = {**key, "against": against, "protocol": protocol}
    content = {
        "judge": name, "config": config, "git_commit": "0" * 40, "versions": {"python": "3.11.0"},
        "samples": samples,
    }  # fmt: skip
    text = json.dumps(content)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    path = folder / "judges" / f"{name}-{settings_hash(config)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'{text[:-1]}, "content_digest": "{digest}"}}')
    return path
