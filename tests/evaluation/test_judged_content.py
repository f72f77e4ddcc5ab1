"""Judged files are believed where every field can be, and are as they were written."""

import copy
import json
from typing import Any

import pytest

from sympo.disk import sealed
from sympo.evaluation.judged_content import read

ITEM = {
    "id": 1, "prompt": "ab", "score": 0.75, "length": 5, "other_length": 6,
    "verdicts": [{"policy_first": True, "choice": 1.0, "by": "x"}],
}  # fmt: skip
CONTENT = {
    "judge": "gold",
    "config": {"against": "chosen"},
    "samples": {
        "last": {
            "digest": "00", "judged": 1.5, "prompt_tokens": 1, "completion_tokens": 2,
            "metrics": {"win_rate": 0.75, "win_rate_high": None, "n": 12, "invalid_rate": 0.0},
            "items": [ITEM],
        }
    },
}  # fmt: skip


def changed(place: str, value: Any) -> str:
    """The text of a file without a digest in which one field is another."""
    content: Any = copy.deepcopy(CONTENT)
    *path, last = [int(step) if step.isdigit() else step for step in place.split("/")]
    inside = content
    for step in path:
        inside = inside[step]
    inside[last] = value
    return json.dumps(content)


def test_what_is_written_is_read() -> None:
    text = sealed(CONTENT)
    digest = json.loads(text)["content_digest"]
    assert read(text.encode()) == {**CONTENT, "content_digest": digest}
    assert read((text + "\n").encode()) == read(text.encode())
    assert read(json.dumps(CONTENT).encode()) == CONTENT  # older than digests


def test_every_flipped_byte_is_seen() -> None:
    raw = sealed(CONTENT).encode()
    for place in range(0, len(raw), 7):
        harmed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        try:
            found = read(harmed)
        except ValueError:
            continue
        assert found["samples"] == CONTENT["samples"]  # the name of the digest was hit


LAST = "samples/last"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("judge", None),
        ("config", []),
        ("samples", None),
        (LAST, 5),
        (f"{LAST}/digest", 5),
        (f"{LAST}/judged", "now"),
        (f"{LAST}/prompt_tokens", -1),
        (f"{LAST}/metrics", {}),
        (f"{LAST}/metrics/win_rate", 123.0),
        (f"{LAST}/metrics/win_rate_se", 10**400),  # more than a float can hold
        (f"{LAST}/metrics/win_rate", "high"),
        (f"{LAST}/metrics/win_rate", float("nan")),
        (f"{LAST}/metrics/n", True),
        (f"{LAST}/items", {}),
        (f"{LAST}/items/0", None),
        (f"{LAST}/items/0/score", 1.5),
        (f"{LAST}/items/0/prompt", 3),
        (f"{LAST}/items/0/length", None),
        (f"{LAST}/items/0/length", float("inf")),
        (f"{LAST}/items/0/verdicts", None),
        (f"{LAST}/items/0/verdicts/0", []),
        (f"{LAST}/items/0/verdicts/0/choice", 0.7),
        (f"{LAST}/items/0/verdicts/0/policy_first", 1),
    ],
)
def test_what_cannot_be_is_refused(place: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"^(?!its digest)"):
        read(changed(place, value).encode())


def test_metric_of_older_files_has_its_own_name() -> None:
    old = {"length_controlled_win_rate_low": 0.5, "invalid_rate": 0.0}
    found = read(changed(f"{LAST}/metrics", old).encode())["samples"]["last"]["metrics"]
    assert found == {"length_adjusted_win_rate_low": 0.5, "invalid_rate": 0.0}
