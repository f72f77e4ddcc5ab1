"""Parts of the training rows: each conversation in one of them, whatever else is in the data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sympo.data.in_memory import TextPairs
from sympo.data.parts import SHARES, conversations
from sympo.data.text_pair import TextPair
from sympo.types import BadInput
from tests.data.test_text_dataset import Made, made

PARTS = [*SHARES]


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def dialogues(count: int) -> list[dict[str, Any]]:
    """Three pairs from each conversation: its first turn, written in two ways, and its second."""
    rows = []
    for i in range(count):
        asked = [turn("user", f"Question {i}?")]
        later = [*asked, turn("assistant", "Answer"), turn("user", "And then?")]
        for number, prompt in enumerate((asked, [turn("user", f"question  {i}")], later)):
            answer = f"{i}.{number}"
            rows.append({"prompt": prompt, "chosen": f"yes {answer}", "rejected": f"no {answer}"})
    return rows


def text_pairs(count: int, part: str, **settings: Any) -> TextPairs:
    test = [{"prompt": [turn("user", "QUESTION 0")], "chosen": "a", "rejected": "b"}]
    settings = {"validation_pairs": 5, **settings}
    return TextPairs(dialogues(count), test=test, part=part, **settings)  # type: ignore[arg-type]


def numbers(pairs: Any) -> set[str]:
    """The conversations of pairs, by their number."""
    return {pair.chosen.split()[1].split(".")[0] for pair in pairs}


def test_a_conversation_is_known_by_its_opening() -> None:
    def key(*messages: dict[str, Any]) -> int:
        return int(conversations([TextPair(list(messages), "a", "b")])[0])

    asked = key(turn("user", "How are you?"))
    assert asked == key(
        turn("user", "how  are you"), turn("assistant", "Fine"), turn("user", "So?")
    )
    assert asked == int(conversations([TextPair([turn("user", "How are you?")], "c", "d")])[0])
    assert asked != key(turn("user", "How are they?"))
    assert key(turn("system", "Be kind."), turn("user", "Hi")) != key(turn("user", "Hi"))
    # nothing but punctuation is compared as it is
    assert key(turn("user", "?")) != key(turn("user", "!"))
    assert key(turn("assistant", "Hello")) != key(turn("assistant", "Bye"))


def test_every_conversation_is_in_one_part() -> None:
    parts = {part: text_pairs(400, part) for part in PARTS}
    held = {part: numbers(data._free.pairs) for part, data in parts.items()}
    assert set.union(*held.values()) == {str(i) for i in range(1, 400)}
    assert sum(map(len, held.values())) == 399, "number 0 is a conversation of the test split"
    for part, share in SHARES.items():
        assert len(held[part]) == pytest.approx(399 * share, abs=3 * np.sqrt(399 * share))
        assert len(parts[part]._free) == 3 * len(held[part])
    found = parts["policies"].account().splits["train"]
    assert found.left_out["dropped for a conversation of the test split"] == 3
    assert found.left_out["of dataset.part=judge"] == 3 * len(held["judge"])
    assert found.rows == found.pairs + sum(found.left_out.values()) == 1200


def test_more_rows_move_no_conversation() -> None:
    for part in PARTS:
        few, many = (numbers(text_pairs(count, part)._free.pairs) for count in (200, 300))
        assert few == {number for number in many if int(number) < 200}


def test_the_judge_is_validated_on_its_own_part() -> None:
    judge, validation = text_pairs(200, "judge", validation_pairs=7), text_pairs(200, PARTS[2])
    assert len(judge.splits["train"]) == len(judge._free), "none of its own rows is held out"
    found = judge.splits["validation"]
    assert len(found) == 7 and set(found.ids) <= set(validation._free.ids)
    assert judge.account().splits["validation"].left_out == {
        "more than dataset.validation_pairs=7": len(validation._free) - 7
    }
    assert np.array_equal(judge.splits["test"].ids, text_pairs(200, "all").splits["test"].ids)


def test_all_rows_are_the_default() -> None:
    assert len(text_pairs(50, "all")._free) == 150 and made().part == "all"
    assert made().splits["train"].pairs == made(part="all").splits["train"].pairs
    assert made().fingerprint() == made(part="judge").fingerprint()


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"^part=judges is not known: use one of all, policies, judge"
    ):
        made(part="judges").check()
    data = Made(train=[("only", "yes", "no")], test=[("other", "yes", "no")], validation_pairs=1)
    refused = {}
    for part in PARTS:
        try:
            Made(train=data.train, test=data.test, validation_pairs=1, part=part).check()  # type: ignore[arg-type]
        except BadInput as error:
            refused[part] = str(error)
    assert len(refused) == 3
    empty = [why for why in refused.values() if "none of the 1 train rows is usable" in why]
    assert len(empty) >= 2 and "1 of dataset.part=" in empty[0]
