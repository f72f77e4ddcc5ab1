"""What a language model is asked about two answers, and how its verdict is read."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.types import BadInput, Comparison

# templates lie beside the judges' YAML files
FOLDER = Path(__file__).parents[2] / "conf" / "judge"
PLACES = ("{dialogue}", "{answer_a}", "{answer_b}")
MARKS = {"A": FIRST, "B": SECOND, "C": TIE}

_PLACE = re.compile(r"\{(dialogue|answer_a|answer_b|mark)\}")
_MARK = re.compile(rf"\[\[([{''.join(MARKS)}])\]\]")
# what may stand beside a mark: punctuation and markup, but no question mark
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


def read_template(key: str, path: str) -> str:
    """The text of a template; a relative path is taken from `FOLDER`.

    key: the setting that names the file. Raises BadInput where it is not there, or lacks one of
    `PLACES` or the marks [[A]] and [[B]].
    """
    full = FOLDER / path
    try:
        text = full.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{key}={path}: {full} is no text file that can be read") from error
    if missing := [place for place in (*PLACES, "[[A]]", "[[B]]") if place not in text]:
        raise BadInput(f"{full} must contain {', '.join((*PLACES, '[[A]], [[B]]'))}: "
                       f"{', '.join(missing)} is missing")  # fmt: skip
    return text


def fill(template: str, comparison: Comparison) -> str:
    """A template with the texts of a comparison in its places.

    `{mark}` becomes eight hexadecimal digits made of the texts, the same in both orders, so that
    no text can hold the mark that ends it.
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
    # in one pass: what is put in is not searched for places again
    filled = _PLACE.sub(lambda place: values[place[1]], template)
    # half a character, as a cut sample may end in, cannot be sent
    return filled.encode(errors="replace").decode()


def choice(words: str, cut: bool = False, thought: bool = False) -> float | None:
    """The verdict in a judge's words: 1 for [[A]], 0 for [[B]], 0.5 for [[C]].

    The mark must be the judge's last word, after all that it thought. None where anything but
    punctuation and markup follows it, where the last line holds marks that contradict each other,
    or where a thought is not closed (`<think>` without `</think>`, and its like).

    cut: whether the words ended at their token limit. Then they are a verdict only after a closed
        thought, or where the mark is all that was said: what is cut may be a thought without tags.
    thought: whether a thought came, whole, apart from the words.
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
