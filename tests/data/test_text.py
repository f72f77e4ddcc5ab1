import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sympo.data.encoding import TextPair
from sympo.data.files import Row
from sympo.data.messages import value
from sympo.data.text import Rows, TextDataset
from sympo.types import BadInput
from tests.data.made_tokenizers import tokenizer

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made(TextDataset):
    """Rows (prompt, chosen, rejected) as given."""

    train: list[tuple[str, str, str]]
    test: list[tuple[str, str, str]]

    def rows(self, split: str) -> Iterator[Row]:
        for number, row in enumerate(getattr(self, split), 1):
            yield (
                f"{split} row {number}",
                dict(zip(("prompt", "chosen", "rejected"), row, strict=True)),
            )

    def pair(self, row: dict[str, Any]) -> TextPair:
        prompt = [{"role": "user", "content": value(row, "prompt", str)}]
        return TextPair(prompt, value(row, "chosen", str), value(row, "rejected", str))


def made(count: int = 60, prompts: int = 40, **changes: Any) -> Made:
    train = [(f"prompt {i % prompts}", f"yes {i}", f"no {i}") for i in range(count)]
    test = [(f"test {i}", f"yes {i}", f"no {i}") for i in range(20)]
    return Made(**{"train": train, "test": test, "validation_pairs": 10, **changes})


def prompts(rows: Rows) -> set[str]:
    return {pair.prompt[0]["content"] for pair in rows.pairs}


@given(
    count=st.integers(20, 80),
    several=st.integers(12, 40),
    size=st.integers(1, 10),
    order=st.randoms(use_true_random=False),
)
@settings(max_examples=40, deadline=None)
def test_no_prompt_is_in_two_splits(count: int, several: int, size: int, order: Any) -> None:
    data = made(count, several, validation_pairs=size)
    splits = data.splits
    train, validation, test = (prompts(splits[split]) for split in SPLITS)
    assert not train & validation and not train & test and not validation & test
    assert len(splits["validation"]) == size and train
    shuffled = made(count, several, validation_pairs=size)
    order.shuffle(shuffled.train)
    order.shuffle(shuffled.test)
    for split in SPLITS:
        assert np.array_equal(splits[split].ids, shuffled.splits[split].ids)
        assert splits[split].pairs == shuffled.splits[split].pairs
    assert shuffled.fingerprint() == data.fingerprint()


def test_rows_are_shuffled_and_nest() -> None:
    few, many = made(train_pairs=12, test_pairs=5).splits, made().splits
    for split, size in (("train", 12), ("test", 5)):
        assert np.array_equal(few[split].ids, many[split].ids[:size])
        assert many[split].pairs != sorted(many[split].pairs, key=lambda pair: pair.chosen)
    assert np.array_equal(few["validation"].ids, many["validation"].ids)
    assert made(train_pairs=10_000).splits["train"].pairs == many["train"].pairs


def test_training_rows_with_a_prompt_of_test_are_dropped_and_counted() -> None:
    data = made()
    data.train.append(("test 3", "a", "b"))
    train = data.splits["train"]
    assert train.dropped["dropped for a prompt of the test split"] == 1
    assert "test 3" not in prompts(train) | prompts(data.splits["validation"])


def test_rows_without_a_preference_are_dropped_and_counted() -> None:
    data = made()
    data.train.extend([("new", " ", "b"), ("new", "a", ""), ("new", "a", "a"), ("\n", "a", "b")])
    data.train.extend([data.train[0], data.train[0]])
    rows = data.usable("train")
    assert (len(rows), rows.read) == (60, 66)
    assert rows.dropped == {
        "dropped for an empty answer": 2,
        "dropped for two equal answers": 1,
        "dropped for an empty prompt": 1,
        "dropped for standing there twice": 2,
    }


def test_broken_row_is_named() -> None:
    data = made()
    data.train[6] = ("a", "b", 3)  # type: ignore[assignment]
    with pytest.raises(BadInput, match=r"^train row 7: rejected=3 must be of type str$"):
        data.check()
    data.train[6] = ("a", "\ud800", "b")
    with pytest.raises(BadInput, match=r"^train row 7: its text is no Unicode"):
        data.check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_pairs": 0}, "dataset.train_pairs=0"),
        ({"validation_pairs": 0}, "dataset.validation_pairs=0"),
        ({"test_pairs": -1}, "dataset.test_pairs=-1"),
        ({"max_prompt_length": 0}, "dataset.max_prompt_length=0"),
        ({"max_length": 256}, "dataset.max_length=256.*max_prompt_length=256"),
        ({"validation_pairs": 60}, "dataset.validation_pairs=60 leaves none of the 60 usable"),
        ({"train": [("a", "", "b")]}, "none of the 1 train rows"),
        ({"test": []}, "none of the 0 test rows"),
    ],
)
def test_bad_settings(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        made(**changes).check()
    assert "\n" not in str(error.value)


def test_fingerprint_is_of_the_content() -> None:
    assert made().fingerprint() == made(train_pairs=10, max_length=300).fingerprint()
    assert made().fingerprint() != made(61).fingerprint()
    moved = made()
    moved.train.append(moved.test.pop())
    assert moved.fingerprint() != made().fingerprint()


def test_preferences_are_encoded_once_per_tokenizer() -> None:
    data, speaker = made(), tokenizer("plain")
    first = data.preferences(0, speaker, None)
    assert data.preferences(1, speaker, None).train is first.train
    assert data.corpus(speaker) is first.train.chosen
    assert data.preferences(0, tokenizer("chatml"), None).train is not first.train
    assert np.array_equal(first.train.pairs.ids, data.splits["train"].ids)
    assert first.test.texts[0].keys() == {"prompt", "chosen", "rejected", "criterion"}
    ids, start = first.train.chosen.ids[0], first.train.chosen.start[0]
    assert data.text(ids[start:], speaker) == first.train.texts[0]["chosen"]


def test_vocabulary() -> None:
    plain = made().vocabulary(tokenizer("plain"))
    assert (plain.size, plain.bos, plain.eos, plain.pad) == (257, None, 256, 256)
    strict = made().vocabulary(tokenizer("strict"))
    assert strict.bos == tokenizer("strict").bos_token_id
    stories = made().vocabulary(tokenizer("stories260K"))
    assert (stories.size, stories.bos, stories.eos, stories.pad) == (512, 1, 2, 0)


@pytest.mark.parametrize("kind", [None, "no eos"])
def test_unfit_tokenizer(kind: str | None) -> None:
    with pytest.raises(BadInput, match="tokenizer"):
        made().vocabulary(tokenizer(kind) if kind else None)


def test_summary_counts() -> None:
    data = made(max_length=80, max_prompt_length=40)
    data.train.append(("new " * 20, "a" * 80, ""))
    data.test.append(("new " * 20, "a" * 80, "b"))
    lines = data.summary(tokenizer("plain"))
    assert len(lines) == 5 and "61 rows read; 1 dropped for an empty answer" in lines[0]
    assert lines[3] == "validation: 10 pairs"
    assert "21 pairs; 1 prompts lost the oldest tokens" in lines[4]
    assert lines[4].endswith("1 answers lost their end")


def test_prompts_that_all_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match=r"max_prompt_length=5: none of the train prompts"):
        made(max_prompt_length=5).preferences(0, tokenizer("chatml"), None)


@pytest.mark.parametrize("kind", ["plain", "chatml", "dated", "strict"])
def test_answers_given_as_texts_are_read_as_in_training(kind: str) -> None:
    data, speaker = made(), tokenizer(kind)
    test = data.preferences(0, speaker, None).test
    sides = ([text[side] for text in test.texts] for side in ("chosen", "rejected"))
    read = data.answered([text["prompt"] for text in test.texts], *sides, speaker, 512)
    for side in ("chosen", "rejected"):
        wanted, found = getattr(test, side), getattr(read, side)
        assert all(map(np.array_equal, wanted.ids, found.ids))
        assert np.array_equal(wanted.start, found.start)
    assert np.array_equal(read.pairs.ids, np.arange(len(test)))
