"""Questions to an OpenAI judge, for several tests."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from inspect import isfunction
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse

from sympo.judges.cache import VerdictCache
from sympo.judges.judging import Item, judge_answers
from sympo.judges.openai import OpenAIJudge
from sympo.protocols.judging import JudgeStopped
from sympo.types import Comparison, Verdict
from tests.judges.openai_server import Scripted

PLANTED = "planted-Key_5f2c90b1e7"


LINES = [
    {
        "id": f"{policy}{chosen}{topic}",
        "prompt": [{"role": "user", "content": f"Say something about {topic}."}],
        "policy": f"About {topic}: q{policy}.",
        "chosen": f"On {topic}, q{chosen}!",
    }
    for policy in range(5)
    for chosen in range(5)
    for topic in ("rain", "tea")
]


def judged(judge: OpenAIJudge, cache: Path, lines: Sequence[Any] = LINES) -> list[Item]:
    judge.check()
    return judge_answers(judge, lines, VerdictCache(cache, judge), lambda done, total: None).items


def comparisons(number: int) -> list[Comparison]:
    dialogue = [{"role": "user", "content": "Say something."}]
    return [Comparison(dialogue, f"first {i}", f"second {i}") for i in range(number)]


def heard(judge: OpenAIJudge, number: int) -> tuple[dict[int, Verdict], str]:
    """The verdicts that arrived and, where the judge stopped, what it said."""
    judge.check()
    verdicts: dict[int, Verdict] = {}
    try:
        judge.compare(comparisons(number), verdicts.__setitem__)
    except JudgeStopped as stopped:
        return verdicts, str(stopped)
    return verdicts, ""


def scripted(said: Any) -> Scripted:
    # a response is callable, too
    return Scripted(said if isfunction(said) else lambda body, headers: said)


def error(message: str, status: int, **more: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, **more}}, status, {"Retry-After": "0.01"})


def worker(folder: Path, settings: dict[str, Any], **env: str) -> "subprocess.Popen[bytes]":
    # to files, as a full pipe would stop a worker that no one reads from
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        return subprocess.Popen(
            [
                sys.executable, "-m", "tests.judges.judging_worker", str(folder),
                json.dumps(settings),
            ],
            stdout=out, stderr=err, env={**os.environ, **env}, cwd=Path(__file__).parents[2],
        )  # fmt: skip
