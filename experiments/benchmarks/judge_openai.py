"""Verdicts per second and peak memory of the OpenAI judge, against a slow server.

    python -m experiments.benchmarks.judge_openai

The server is a separate process that replies to every request after 200 ms. The judge asks for
10,000 verdicts with 32 concurrent requests and commits each verdict to the cache as it arrives,
which takes at least 62.5 s. Memory is the judging process's peak after the first 1,000 verdicts and
after all of them. Needs `pip install -e '.[test]'`, but no GPU, account or network.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from experiments.benchmarks.results import processor, write
from sympo.judges.cache import VerdictCache
from sympo.judges.judging import Line, judge_answers
from sympo.judges.openai import OpenAIJudge

VERDICTS, EARLY, CONCURRENCY, DELAY = 10_000, 1_000, 32, 0.2
ANSWER = json.dumps({
    "id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "scripted",
    "choices": [{
        "index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "The first is clearer and complete.\n[[A]]"},
    }],
    "usage": {"prompt_tokens": 600, "completion_tokens": 14, "total_tokens": 614},
}).encode()  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--verdicts", type=int, default=VERDICTS)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()

    context = multiprocessing.get_context("spawn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context.Process(target=serve, args=(port,), daemon=True).start()
    pipe, other = context.Pipe()
    context.Process(target=judge, args=(port, arguments.verdicts, other), daemon=True).start()
    found = pipe.recv()
    ideal = CONCURRENCY / DELAY
    rate = arguments.verdicts / found["seconds"]
    rows = [
        {
            "name": "judge_verdicts_per_s", "ours": rate, "peer": None, "unit": "verdicts/s",
            "ratio": None, "limit": ideal,
            "limit_is": f"{CONCURRENCY} requests at once, each answered after {DELAY} s",
            "times_ideal_time": ideal / rate, "cpu_ms_per_verdict": found["cpu_ms"],
        },
        {
            "name": "judge_peak_memory", "ours": found["late"], "peer": None, "unit": "MiB",
            "ratio": None, f"after_{EARLY}_verdicts": found["early"],
        },
    ]  # fmt: skip
    print(write(arguments.out / "judge_openai.json", rows, device=processor()))


def serve(port: int) -> None:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(DELAY)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", log_level="warning")


def judge(port: int, verdicts: int, pipe: Connection) -> None:
    """Judge synthetic responses of about 500 characters, with each pair in both orders."""
    wait_for(port)
    lines: list[Line] = [
        {"id": i, "prompt": f"Question {i}?", "policy": f"a{i} " * 100, "chosen": f"b{i} " * 100}
        for i in range(verdicts // 2)
    ]
    asked = OpenAIJudge(base_url=f"http://127.0.0.1:{port}/v1", concurrency=CONCURRENCY)
    asked.check()
    found: dict[str, float] = {}

    def on_progress(done: int, total: int) -> None:
        if done == EARLY:
            found["early"] = peak_mib()

    with tempfile.TemporaryDirectory() as folder:
        cache = VerdictCache(Path(folder) / "verdicts.db", asked)
        start, cpu = time.perf_counter(), time.process_time()
        judged = judge_answers(asked, lines, cache, on_progress)
        found["seconds"] = time.perf_counter() - start
        found["cpu_ms"] = 1e3 * (time.process_time() - cpu) / verdicts
        cache.close()
    assert len(judged.items) == len(lines)
    pipe.send({**found, "late": peak_mib()})


def wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the scripted server did not start")


def peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
