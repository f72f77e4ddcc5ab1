"""Settings of reports, in presets and in files: read as written, or refused by their key."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from sympo.report_settings import FILE, ReportSettings
from sympo.types import BadInput
from tests.fuzz.fuzzing import folder, fuzz, many, refusal
from tests.fuzz.strategies import deep, texts, values

SOUND_COMPARISON = {
    "name": "mine", "metric": "test/order_accuracy", "x": "noise", "epoch": ["last", "selected"],
    "lines": ["loss"], "panels": "model", "title": "t", "log_x": False,
    "where": {"noise": [0.1, 0.4]},
    "choose": {"setting": "loss.beta", "by": "selected/validation/noisy_accuracy"},
}  # fmt: skip
SOUND_CLAIM = {
    "claim": "Ramp is better", "source": "table 1", "kind": "greater", "margin": 0.01,
    "metric": "last/test/order_accuracy", "a": {"loss": "ramp"}, "b": {"loss": ["logistic"]},
    "over": ["noise"], "where": {"epoch": "last"},
}  # fmt: skip
_KEYS = sorted({*SOUND_COMPARISON, *SOUND_CLAIM, "nmae", "", "seed"})
_VALUES = st.one_of(
    values,
    deep,
    texts,
    st.sampled_from(
        ["noise", "epoch", "seed", "loss", "last", "test/order_accuracy", "test/nothing",
         "last/test/order_accuracy", "judge/x/win_rate", "equal", "greater", "report", "a/b",
         "../x", "x__y", [], {}, [[]], ["last", "last"], {"noise": 0.7}, {"seed": 1}, {"loss": []},
         {"noise": [True]}]
    ),
)  # fmt: skip
changes = st.lists(st.tuples(st.sampled_from(_KEYS), _VALUES), max_size=2)
reports = st.one_of(
    st.tuples(changes, changes).map(
        lambda both: {
            "comparisons": [SOUND_COMPARISON | dict(both[0])],
            "claims": [SOUND_CLAIM | dict(both[1])],
        }
    ),
    st.fixed_dictionaries({}, optional={"comparisons": _VALUES, "claims": _VALUES, "more": values}),
    values,
)


@many(100, 1000)
def test_what_a_report_is_asked(examples: int) -> None:
    def check(given: Any) -> None:
        found: list[ReportSettings] = []
        if refusal(lambda: found.append(ReportSettings.of(given)), "report") is not None:
            return
        [read] = found
        for kind in ("comparisons", "claims"):
            for asked, made in zip(given.get(kind, []), asdict(read)[kind], strict=True):
                for key in ("name", "metric", "title", "kind", "margin", "source"):
                    if asked.get(key) is not None:
                        assert made[key] == asked[key]
        for _, name, _ in read.uses():
            assert name and name != "seed"
        with folder() as place:  # what is written is read
            read.write(place)
            assert json.dumps(asdict(ReportSettings.stored(place))) == json.dumps(asdict(read))

    fuzz(examples, reports, check)


@many(30, 500)
def test_files_of_reports(examples: int) -> None:
    def check(given: tuple[Any, str, int]) -> None:
        content, how, place = given
        with folder() as made:
            file = made / FILE
            raw = json.dumps(content).encode()
            if how == "cut":
                raw = raw[: place % (len(raw) + 1)]
            elif how == "noise":
                raw = bytes((byte + place) % 256 for byte in raw)
            file.write_bytes(raw)
            refusal(lambda: ReportSettings.stored(made), str(file))
            refusal(lambda: ReportSettings.load(file), str(file))

    cases = st.tuples(reports, st.sampled_from(["", "cut", "noise"]), st.integers(0, 10**4))
    fuzz(examples, cases, check)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", r"report\.json=\[\] is not allowed: it must be a mapping"),
        ('"size"', r"report\.json='size' is not allowed: it must be a mapping"),
        ('{"size": 3}', r"report\.json\.size=3 is not allowed: it must be a text"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(BadInput, match=said):
        ReportSettings.stored(tmp_path)


def test_a_file_that_is_nested_too_deep() -> None:
    with folder() as made:
        (made / FILE).write_text("[" * 100_000)
        assert refusal(lambda: ReportSettings.stored(made), FILE)
        (made / FILE).write_text("[" * 2000)
        assert refusal(lambda: ReportSettings.load(made / FILE), FILE)
