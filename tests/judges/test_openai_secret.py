"""The key ends up nowhere."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from sympo.judges.openai import OpenAIJudge
from sympo.protocols.judging import JudgeStopped
from sympo.types import BadInput
from tests.judges.asking import LINES, PLANTED, comparisons, error, scripted, worker
from tests.judges.openai_server import completion, running


def leaks(headers: Any) -> str:
    return f"{headers['authorization']} and sk-proj-{PLANTED[:4]}********wxyz"


@pytest.mark.parametrize(
    "script",
    [
        lambda body, headers: completion(f"I was told {leaks(headers)} [[A]]"),
        lambda body, headers: error(f"Incorrect API key provided: {leaks(headers)}", 401),
        lambda body, headers: error(f"too long for {leaks(headers)}", 400),
        lambda body, headers: PlainTextResponse(f"proxy: {leaks(headers)}"),
        lambda body, headers: PlainTextResponse(leaks(headers), 502),
    ],
    ids=["words", "401", "400", "no JSON", "502"],
)
def test_key_is_left_nowhere(script: Callable[[Any, Any], Any], tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_text(json.dumps(LINES[:3]))
    keys: set[str] = set()

    def noted(body: Any, headers: Any) -> Any:
        keys.add(headers["authorization"])
        return script(body, headers)

    with running(scripted(noted)) as url:
        settings = {"base_url": url, "max_retries": 1}
        worker(tmp_path, settings, OPENAI_API_KEY=PLANTED + "\n").wait()
    assert keys == {f"Bearer {PLANTED}"}, "the server is to have been shown the key"
    written = {
        path.name: path.read_bytes().decode(errors="replace")
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert {"out.txt", "err.txt", "verdicts.db"} < set(written)
    assert ("items.json" in written) != ("error.log" in written)
    for name, text in written.items():
        assert PLANTED not in text, name
        assert "wxyz" not in text, name
    assert any("[key]" in text for text in written.values())


def test_key_is_not_in_the_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    # the transport refuses it, and quotes it
    monkeypatch.setenv("OPENAI_API_KEY", f"{PLANTED}\n2")
    with running(scripted(completion("[[A]]"))) as url:
        judge = OpenAIJudge(base_url=url, max_retries=0)
        with pytest.raises(BadInput) as refused:
            judge.check()
        with pytest.raises(JudgeStopped) as stopped:
            judge.compare(comparisons(1), lambda *_: None)
    assert PLANTED not in str(refused.value)
    assert PLANTED not in "".join(traceback.format_exception(stopped.value))
    assert stopped.value.__cause__ is None
    assert stopped.value.__context__ is None


@pytest.mark.parametrize("url", [f"http://me:{PLANTED}@host/v1", f"http://host/v1?key={PLANTED}"])
def test_key_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput, match="OPENAI_API_KEY") as refused:
        OpenAIJudge(base_url=url).check()
    assert PLANTED not in str(refused.value)
