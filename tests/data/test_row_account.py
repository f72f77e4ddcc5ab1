"""The account of rows in words and as JSON, and what it counts."""

import pytest

from sympo.data.row_account import lines, near, read, rendered, text
from sympo.types import Account, SplitAccount


def said(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def test_account_in_words_and_back_from_json() -> None:
    train = SplitAccount(20, 12, {"dropped for an empty answer": 8}, {"answers lost their end": 3})
    found = Account({"train": train, "test": SplitAccount(5, 5, {}, {"none": 0}, 2, 4)}, ["a"])
    assert lines(found, "so what") == [
        "a",
        "train: 12 pairs of 20 rows; 8 dropped for an empty answer; 3 answers lost their end",
        "test: 5 pairs of 5 rows; 2 have a training prompt but for case, punctuation and white "
        "space",
        "warning: 4 prompts hold chat text that is already rendered, such as <|im_start|> or "
        "[INST]; so what",
    ]
    assert read(text(found)) == found


def test_a_model_that_leaves_out_more() -> None:
    read_on = SplitAccount(20, 12, {"a": 8}, {"b": 1}).after({"a": 2, "c": 1}, {"b": 4, "d": 0})
    assert read_on == SplitAccount(20, 9, {"a": 10, "c": 1}, {"b": 5})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("What's up?", "whats  UP", True),
        ("\u00dcber Stra\u00dfe\u3002", "\u00fcber STRASSE", True),
        ("What is up?", "What was up?", False),
        ("?!", "...", False),  # nothing is left of them
        ("1 + 1", "1 < 1", False),  # signs of mathematics are no punctuation
    ],
)
def test_near_duplicates(one: str, other: str, same: bool) -> None:
    assert near([said(one), said("x")], [said(other)]) == same


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", True),
        ("<s>[INST] <<SYS>>Be kind<</SYS>> Hi [/INST]", True),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", True),
        ("### Question: Hi\n### Answer:", True),
        ("Be kind.\n### Human: Hi ### Assistant:", True),
        ("Below is an instruction.\n\n### Instruction:\nHi\n\n### Response:\n", True),
        ("\n\nHuman: Hi\n\nAssistant:", True),
        ("Human: Hi\n\nAssistant:", True),
        ("What makes us human: Hi?\n\n## Question 3", False),
        ("Write a letter.\n\nHuman: all too human", False),
    ],
)
def test_rendered_chat_text(content: str, wanted: bool) -> None:
    assert rendered(said(content)) == wanted
