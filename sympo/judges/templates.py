"""The prompts of a language model that judges two responses, and how its verdict is read."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.types import BadArgument, BadInput, Comparison

# of the shipped templates, and of a checkout's own beside the judges' YAML files
PACKAGE = Path(__file__).parent
CONF = PACKAGE.parents[1] / "conf" / "judge"
PLACES = ("{dialogue}", "{answer_a}", "{answer_b}")
MARKS = {"A": FIRST, "B": SECOND, "C": TIE}

_PLACE = re.compile(r"\{(dialogue|answer_a|answer_b|mark)\}")
_MARK = re.compile(rf"\[\[([{''.join(MARKS)}])\]\]")
# allowed beside a mark: punctuation and markup, but no question mark
_BESIDE = r"(?:[^\w?]|_)*"
_LAST_WORD = re.compile(rf"{_MARK.pattern}{_BESIDE}$")
_ONLY_WORD = re.compile(rf"{_BESIDE}{_MARK.pattern}{_BESIDE}")
# </answer>, <|im_end|>
_TAG = re.compile(r"<[^<>\s]{1,40}>")
_THOUGHT = (
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratch_?pad|deliberation"
    r"|inner_monologue|chain_of_thought|cot)(?:[_-]\w+)?"
)
# <think>, <seed:think>, <|begin_of_thought|>, <reasoning effort="low">, [THINK], gpt-oss's channels
_OPENS = re.compile(
    rf"[<◁]\|?(?:\w+:|begin_of_)?{_THOUGHT}(?:\s[^<>]{{0,100}})?\|?[>▷]|\[think\]"
    r"|<\|channel\|>(?:analysis|commentary)",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    rf"[<◁]\|?(?:/\s?(?:\w+:)?|end_of_){_THOUGHT}\s?\|?[>▷]|\[/think\]|<\|channel\|>final",
    re.IGNORECASE,
)


def read_template(argument: str, path: str) -> str:
    """The text of a template. A relative path is that of a shipped template, or else relative to
    the working directory, or else to conf/judge of a checkout.

    argument: the one that names the file. Raises BadInput if the file cannot be read, or lacks one
    of `PLACES` or the marks [[A]] and [[B]].
    """
    places = [folder / path for folder in (PACKAGE, Path.cwd(), CONF)]
    full = next((place for place in places if place.is_file()), places[1])
    try:
        text = full.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadArgument(argument, path, f"is not allowed: {full} is not a text file") from error
    if missing := [place for place in (*PLACES, "[[A]]", "[[B]]") if place not in text]:
        raise BadInput(f"{full} must contain {', '.join((*PLACES, '[[A]], [[B]]'))}: "
                       f"{', '.join(missing)} is missing")  # fmt: skip
    return text


def fill(template: str, comparison: Comparison) -> str:
    """A template filled with the texts of a comparison.

    `{mark}` becomes eight hexadecimal digits made of the texts, the same in both orders, so that
    no text can contain the mark that ends it.
    """
    answers = (comparison.first, comparison.second)
    dialogue = _written(comparison.dialogue)
    hashed = json.dumps([dialogue, *sorted(answers)]).encode()
    values = {
        "dialogue": dialogue,
        "answer_a": answers[0],
        "answer_b": answers[1],
        "mark": hashlib.blake2b(hashed, digest_size=4).hexdigest(),
    }
    # in one pass: inserted texts are not searched for places
    filled = _PLACE.sub(lambda place: values[place[1]], template)
    # half a character, at the end of a cut sample, cannot be sent
    return filled.encode(errors="replace").decode()


def choice(words: str, cut: bool = False, thought: bool = False) -> float | None:
    """The verdict in a judge's reply: 1 for [[A]], 0 for [[B]], 0.5 for [[C]], None if it cannot be
    parsed.

    The mark must come last, after all reasoning. A reply is unparsable if anything but punctuation
    and markup follows the mark, if the last line holds contradicting marks, or if its reasoning is
    not closed (`<think>` without `</think>`, and the like).

    cut: whether the reply ended at its token limit. It is then a verdict only after closed
        reasoning, or if it is nothing but the mark: it may have been cut within untagged reasoning.
    thought: whether complete reasoning came apart from the reply.
    """
    *closed, said = _CLOSES.split(words)
    if _OPENS.search(said):
        return None
    lines = [line for line in _TAG.sub("", said).splitlines() if re.search(r"\w", line)]
    if not lines or not _LAST_WORD.search(lines[-1]):
        return None
    if (
        cut
        and not closed
        and not thought
        and not (len(lines) == 1 and _ONLY_WORD.fullmatch(lines[0]))
    ):
        return None
    marks = set(_MARK.findall(lines[-1]))
    return MARKS[marks.pop()] if len(marks) == 1 else None


def _written(dialogue: Sequence[Mapping[str, str]]) -> str:
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in dialogue)
