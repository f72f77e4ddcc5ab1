import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sympo.data.message_parsing import value
from sympo.data.row_sources import PlacedRow
from sympo.data.text_dataset import TextDataset
from sympo.data.text_pair import TextPair
from sympo.data.text_rows import TextRows
from sympo.types import BadInput
from tests.data.made_tokenizers import tokenizer

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made(TextDataset):
    """Rows (prompt, chosen, rejected) as given."""

    train: list[tuple[str, str, str]]
    test: list[tuple[str, str, str]]

    def rows(self, split: str) -> Iterator[PlacedRow]:
        for number, row in enumerate(getattr(self, split), 1):
            columns = dict(zip(("prompt", "chosen", "rejected"), row, strict=True))
            yield PlacedRow(f"{split} row {number}", columns)

    def pair(self, row: dict[str, Any]) -> TextPair:
        prompt = [{"role": "user", "content": value(row, "prompt", str)}]
        return TextPair(prompt, value(row, "chosen", str), value(row, "rejected", str))


def made(count: int = 60, prompts: int = 40, **changes: Any) -> Made:
    train = [(f"prompt {i % prompts}", f"yes {i}", f"no {i}") for i in range(count)]
    test = [(f"test {i}", f"yes {i}", f"no {i}") for i in range(20)]
    return Made(**{"train": train, "test": test, "validation_pairs": 10, **changes})


def prompts(rows: TextRows) -> set[str]:
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
        "dropped for being a copy of another row": 2,
    }


def test_every_pair_knows_its_row_in_every_split() -> None:
    data = made()
    data.train.insert(0, data.train[0])  # the copy at row 2 is dropped
    for split, released in (("train", "train"), ("validation", "train"), ("test", "test")):
        rows = data.splits[split]
        for number, pair in zip(rows.ids.tolist(), rows.pairs, strict=True):
            name, _, row = rows.places[number].rpartition(" row ")
            assert name == released
            assert getattr(data, released)[int(row) - 1][1] == pair.chosen


def test_broken_row_is_named() -> None:
    data = made()
    data.train[6] = ("a", "b", 3)  # type: ignore[assignment]
    with pytest.raises(BadInput, match=r"^train row 7: rejected=3 must be of type str$"):
        data.check()
    data.train[6] = ("a", "\ud800", "b")
    with pytest.raises(BadInput, match=r"^train row 7: its text is not Unicode"):
        data.check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_pairs": 0}, "^train_pairs=0 is not allowed"),
        ({"validation_pairs": 0}, "^validation_pairs=0"),
        ({"test_pairs": -1}, "^test_pairs=-1"),
        ({"max_prompt_length": 0}, "^max_prompt_length=0"),
        ({"max_length": 256}, "^max_length=256 .*max_prompt_length=256"),
        ({"validation_pairs": 60}, "^validation_pairs=60 takes all prompts of the 60 usable"),
        (
            {"train": [("a", "", "b")] * 3},
            "none of the 3 train rows is usable: 3 dropped for an empty answer$",
        ),
        (
            {"train": [(f"test {i}", "a", "b") for i in range(5)]},
            "none of the 5 train rows is usable: 5 dropped for a prompt of the test split$",
        ),
        (
            {"train": [(f"test {i}", "a", "b") for i in range(5)] + [("new", "a", "b")]},
            "^validation_pairs=10 .* the 1 usable training rows \\(6 read, 5 dropped for",
        ),
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


def test_every_row_is_accounted_for() -> None:
    data = made(train_pairs=12, test_pairs=15, max_length=80, max_prompt_length=40)
    data.train.extend([("new", "a" * 80, ""), ("new", "a", "a"), ("test 3", "a", "b")])
    data.train.extend([("new " * 20, f"{i}{'a' * 80}", "b") for i in range(30)])
    data.test.append(("new", "<eos>a", "a"))
    found = data.preferences(0, tokenizer("plain"), None)
    for name in SPLITS:
        split = found.account.splits[name]
        assert split.pairs == len(getattr(found, name)) <= len(data.splits[name])
        assert split.rows == split.pairs + sum(split.left_out.values())
    train, validation, test = (found.account.splits[name] for name in SPLITS)
    assert (train.rows, validation.rows, test.rows) == (93, 10, 21)
    assert train.left_out["dropped for an empty answer"] == 1
    assert train.left_out["dropped for a prompt of the test split"] == 1
    assert train.left_out["more than dataset.train_pairs=12"] > 0
    assert train.changed["answers lost their end"] <= train.pairs
    assert {"prompts lost the oldest tokens of their newest turn", "answers lost their end"} == {
        what for split in (train, validation) for what, count in split.changed.items() if count
    }


def test_account_of_pairs_that_no_model_has_read() -> None:
    data = made()
    data.test.append(("new", "<eos>a", "a"))
    found = data.account()
    assert {name: split.pairs for name, split in found.splits.items()} == {
        name: len(data.splits[name]) for name in SPLITS
    }


def test_near_duplicates_across_splits_are_counted_and_kept() -> None:
    near = [("PROMPT 1!", "a", "b"), ("prompt\u30002.", "a", "b"), ("Prompt 99", "a", "b")]
    data = made(test=near, validation_pairs=1)
    account = data.preferences(0, tokenizer("plain"), None).account
    assert account.splits["test"].near_training == 2 and account.splits["test"].pairs == 3
    assert account.splits["validation"].near_training == 0


def test_rendered_prompts_are_counted() -> None:
    rendered = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    data = made(test=[(rendered, "a", "b"), ("Hi", "a", "b")])
    account = data.preferences(0, tokenizer("plain"), None).account
    assert account.splits["test"].rendered == 1
    assert not account.splits["train"].rendered
    # a model that reads words wraps no prompt in a template
    assert not data.account().splits["test"].rendered


def test_a_tokenizer_that_can_write_no_pair_is_refused_before_work() -> None:
    data, refusing = made(max_length=80, max_prompt_length=40), tokenizer("thinking")
    with pytest.raises(BadInput) as error:
        data.check_tokenizer(refusing)
    words = str(error.value)
    assert "none of the" in words and "does not close the <think>" in words and "\n" not in words
    data.check_tokenizer(tokenizer("plain"))
    assert not data._encodings, "to try some is enough"


def test_prompts_that_all_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInput, match=r"none of the \d+ train pairs: .*max_prompt_length=5"):
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain(TextDataset):
    """A stranger's data set: rows as given, read by the class's own `pair` if there is one."""

    given: Any = dataclasses.field(default=None, hash=False)

    def rows(self, split: str) -> Any:
        return self.given


class Reader(Plain):
    """With a `pair` that looks for other columns."""

    def pair(self, row: dict[str, Any]) -> TextPair:
        return row["answer"]  # type: ignore[no-any-return]


def test_rows_may_be_plain_dicts() -> None:
    given = [{"prompt": f"p {i}", "chosen": "a", "rejected": f"{i}"} for i in range(9)]
    rows = Plain(given=given).usable("train")
    assert len(rows) == 9 and rows.pairs[0].prompt == [{"role": "user", "content": "p 0"}]
    given[4]["chosen"] = 4
    with pytest.raises(BadInput, match=r"^Plain train row 5: chosen=4 must be of type str"):
        Plain(given=given).usable("train")
    placed = [PlacedRow("page 3", given[4]), ("page 4", given[4])]
    for number, row in enumerate(placed):
        with pytest.raises(BadInput, match=rf"^page {3 + number}: chosen=4"):
            Plain(given=[row]).usable("train")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"Plain\.rows\('test'\) returned None; it must yield"),
        ("text", r"Plain\.rows\('test'\) yielded 't' as row 1; each row must be a dict"),
        ([("a", "b", "c")], r"yielded \('a', 'b', 'c'\) as row 1; each row must be a dict"),
        ([None], r"yielded None as row 1; each row must be a dict"),
    ],
)
def test_rows_that_are_something_else(given: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        Plain(given=given).usable("test")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, r"Reader\.pair returned None; it must return TextPair\(prompt, chosen, rejected\)"),
        (TextPair("Hi", "a", "b"), "returned the prompt 'Hi'; it must be a list of messages"),  # type: ignore[arg-type]
        (TextPair(["Hi"], "a", "b"), "it must be a list of messages"),  # type: ignore[list-item]
        (TextPair([], 1, "b"), "returned the response 1; it must be of type str"),  # type: ignore[arg-type]
    ],
)
def test_a_pair_that_is_something_else(answer: Any, words: str) -> None:
    with pytest.raises(BadInput, match=rf"^Reader train row 1: .*{words}"):
        Reader(given=[{"answer": answer}]).usable("train")
    with pytest.raises(BadInput, match=r"^Reader train row 1: Reader\.pair needs 'answer'; the r"):
        Reader(given=[{"prompt": "Hi"}]).usable("train")


def test_an_unfinished_class_cannot_be_built() -> None:
    class Nothing(TextDataset):
        pass

    with pytest.raises(TypeError, match="rows"):
        Nothing()  # type: ignore[abstract]
