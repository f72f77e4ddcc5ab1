"""The account of what became of every row, as lines and as JSON, and its counts over splits."""

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sympo.types import Account, SplitAccount

# characters above are emoji and rare scripts without punctuation
LAST_PUNCTUATION = 0x1FFFF
# rendered chats: ChatML, Llama 3, Llama 2, Gemma, Zephyr, and plain words
RENDERED = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|\[INST\]|<start_of_turn>|<\|(?:user|assistant)\|>"
    r"|^### ?(?:Question|Human|Instruction|User) ?:|(?:\A\s*|\n\n)Human:(?s:.*)\n\nAssistant:",
    re.MULTILINE,
)


def lines(account: Account, on_rendered: str) -> list[str]:
    """The account in words: a line for each split, and a warning if prompts are rendered already.

    on_rendered: what becomes of such prompts, and what to do about it.
    """
    found = [*account.notes, *(_line(name, split) for name, split in account.splits.items())]
    if rendered := sum(split.rendered for split in account.splits.values()):
        found.append(
            f"warning: {rendered} prompts hold chat text that is already rendered, such as "
            f"<|im_start|> or [INST]; {on_rendered}"
        )
    return found


def _line(name: str, split: SplitAccount) -> str:
    near = {"have a training prompt but for case, punctuation and white space": split.near_training}
    return "; ".join(
        [
            f"{name}: {split.pairs} pairs of {split.rows} rows",
            *counted(split.left_out),
            *counted(split.changed),
            *counted(near),
        ]
    )


def counted(counts: Mapping[str, int]) -> list[str]:
    """`12 dropped for an empty answer`, for each reason that occurred."""
    return [f"{count} {what}" for what, count in counts.items() if count]


def none_usable(split: str, read: int, dropped: Mapping[str, int]) -> str:
    """A sentence on a split without usable rows."""
    why = ", ".join(counted(dropped)) or "there are none"
    return f"none of the {read} {split} rows is usable: {why}"


def none_written(split: str, count: int, dropped: Mapping[str, int], tokenizer: str) -> str:
    """A sentence on a split of which a tokenizer leaves no pair."""
    why = ", ".join(counted(dropped))
    other = "; give a model or a tokenizer with another chat template"
    return (
        f"the tokenizer {tokenizer} leaves none of the {count} {split} "
        f"pairs: {why}{other if 'chat template' in why else ''}"
    )


def text(account: Account) -> str:
    """The account as JSON."""
    splits = {name: vars(split) for name, split in account.splits.items()}
    return json.dumps({"splits": splits, "notes": list(account.notes)}, indent=1)


def read(content: str) -> Account:
    """The account that `text` wrote."""
    found = json.loads(content)
    splits = {name: SplitAccount(**split) for name, split in found["splits"].items()}
    return Account(splits, found["notes"])


def near(
    prompts: Sequence[Sequence[Mapping[str, Any]]], others: Iterable[Sequence[Mapping[str, Any]]]
) -> int:
    """How many prompts equal one of the others up to case, punctuation and white space."""
    known = {letters(prompt) for prompt in others} - {""}
    return sum(letters(prompt) in known for prompt in prompts)


def rendered(prompt: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a message of the prompt contains chat text that is already rendered."""
    return any(RENDERED.search(message["content"]) for message in prompt)


def letters(prompt: Sequence[Mapping[str, Any]]) -> str:
    """The content of messages without case, punctuation and white space."""
    said = "".join(message["content"] for message in prompt)
    return said.casefold().translate(_between_words())


@cache
def _between_words() -> dict[int, None]:
    letters = ((number, chr(number)) for number in range(LAST_PUNCTUATION))
    return {
        number: None
        for number, letter in letters
        if unicodedata.category(letter)[0] in "PZ" or letter.isspace()
    }
