"""The OpenAI judge against a real server on loopback that fails, is killed and interrupted."""

import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sympo.judges.cache import VerdictCache
from sympo.judges.judging import Item, judge_answers
from sympo.judges.openai import OpenAIJudge
from sympo.protocols.judging import JudgeStopped
from sympo.types import Verdict
from tests.judges.asking import LINES, comparisons, heard, judged, scripted, worker
from tests.judges.openai_server import (
    FaultyProxy,
    Scripted,
    completion,
    expected,
    make_judge,
    running,
    transformers_serve,
)

# what the tiny judge prefers of (policy, chosen) is agreed on in both orders, or a tie
MARKS = {"A": 1.0, "B": 0.0, "C": 0.5}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("judge") / "model"
    make_judge(folder)
    return str(folder)


@pytest.fixture(scope="module")
def server(model: str) -> Iterator[str]:
    with transformers_serve(Path(model)) as url:
        yield url


@pytest.fixture(scope="module")
def undisturbed(model: str, server: str, tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """What the server says when nothing comes between."""
    judge = OpenAIJudge(base_url=server, model=model)
    return judged(judge, tmp_path_factory.mktemp("undisturbed") / "verdicts.db")


def test_real_server(undisturbed: list[Item]) -> None:
    scores = []
    for line, item in zip(LINES, undisturbed, strict=True):
        policy, chosen = int(line["id"][0]), int(line["id"][1])
        first, second = MARKS[expected(policy, chosen)], MARKS[expected(chosen, policy)]
        assert [verdict["choice"] for verdict in item["verdicts"]] == [first, second]
        scores.append(item["score"])
        assert item["score"] == (first if first == 1 - second else 0.5)
    assert {0.0, 0.5, 1.0} == set(scores)


def test_tokens_are_counted(model: str, server: str, tmp_path: Path) -> None:
    judge = OpenAIJudge(base_url=server, model=model, price_per_million_prompt_tokens=1e3)
    verdicts, _ = heard(judge, 2)
    # the user's mark and the assistant's, as no word of these answers is known to the tiny model
    assert all(verdict.prompt_tokens == 2 for verdict in verdicts.values())
    words = sum(verdict.completion_tokens for verdict in verdicts.values())
    assert judge.spending.dollars == pytest.approx((4 * 1e3 + words * 0.6) / 1e6)
    assert judge.cost() == f"{4 + words} tokens, ${judge.spending.dollars:.4f} so far"


def test_faults_change_nothing(
    model: str, server: str, undisturbed: list[Item], tmp_path: Path
) -> None:
    proxy = FaultyProxy(server, rate=0.3, hang=2.2)
    with running(proxy) as url:
        judge = OpenAIJudge(base_url=url, model=model, timeout=2.0, concurrency=8)
        cache = CountingCache(tmp_path / "verdicts.db", judge)
        runs, items = 0, [{"score": None}]
        while any(item["score"] is None for item in items):
            with suppress(JudgeStopped):  # a comparison met only faults: the next run asks again
                items = judge_answers(judge, LINES, cache, lambda done, total: None).items
            runs += 1
            assert runs < 10
    assert items == undisturbed
    assert len(proxy.faults) == 6, "every kind of fault is to occur"
    assert sum(proxy.faults.values()) > 20
    assert runs > 1, "garbage is to be asked again in a later run"
    assert set(cache.parsed.values()) == {1}, "no verdict comes twice"
    assert len(cache.parsed) == 2 * len(LINES)
    assert set(proxy.answered.values()) == {1}, "nothing that was answered is asked again"


class CountingCache(VerdictCache):
    """Counts how often each comparison got a verdict that could be parsed."""

    def __init__(self, *settings: Any) -> None:
        super().__init__(*settings)
        self.parsed: Counter[bytes] = Counter()

    def put(self, key: bytes, verdict: Verdict) -> None:
        self.parsed[key] += verdict.choice is not None
        super().put(key, verdict)


def test_killed_half_way(model: str, server: str, undisturbed: list[Item], tmp_path: Path) -> None:
    proxy = FaultyProxy(server, rate=0, delay=0.1)
    (tmp_path / "lines.json").write_text(json.dumps(LINES))
    with running(proxy) as url:
        settings = {"base_url": url, "model": model, "concurrency": 4}
        first = worker(tmp_path, settings)
        while stored(tmp_path) < len(LINES):
            assert first.poll() is None
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.wait()
        kept, asked = stored(tmp_path), sum(proxy.attempts.values())
        assert len(LINES) <= kept < 2 * len(LINES)
        second = worker(tmp_path, settings)
        assert second.wait() == 0
        assert (tmp_path / "out.txt").read_text().splitlines()[0] == f"{kept} {2 * len(LINES)}"
    assert sum(proxy.attempts.values()) - asked == 2 * len(LINES) - kept
    assert json.loads((tmp_path / "items.json").read_text()) == undisturbed


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Take interrupts as a foreground process does; started in the background, they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_at_once() -> None:
    server = Scripted(lambda body, headers: completion("[[A]]"), delay=0.1)
    verdicts: dict[int, Verdict] = {}
    with running(server) as url:
        judge = OpenAIJudge(base_url=url, concurrency=2)
        timer = threading.Timer(0.55, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            judge.compare(comparisons(1000), verdicts.__setitem__)
        assert time.monotonic() - started < 1.5
    assert 2 <= len(verdicts) <= 12


def test_error_of_the_listener_is_told_as_it_is() -> None:
    def full(number: int, verdict: Verdict) -> None:
        raise OSError("no space left")

    with running(scripted(completion("[[A]]"))) as url, pytest.raises(OSError, match="no space"):
        OpenAIJudge(base_url=url).compare(comparisons(50), full)


def stored(folder: Path) -> int:
    path = folder / "verdicts.db"
    if not path.is_file():
        return 0
    try:
        return int(sqlite3.connect(path).execute("SELECT count(*) FROM verdicts").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
