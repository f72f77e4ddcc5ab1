"""Pairs of texts as token ids, cut to a length.

The text of a pair is the sampling prompt, the response and an end of sequence, encoded as one text,
so that the ids of the prompt are a prefix of those of the pair, if the tokenizer allows it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from sympo.data.chat_format import ChatFormat, common_prefix
from sympo.data.template_checks import THOUGHTS, left_out
from sympo.data.text_pair import (
    TEXTS,
    Message,
    TextPair,
    disputes,
    probabilities,
    score_gaps,
)
from sympo.types import BadArgument, Encoded, TokenPairs, chosen_over_rejected


@dataclass(frozen=True)
class Changes:
    """What was changed to fit pairs in; n pairs.

    shortened: (n,) bool, prompts that lost their oldest turns; cut: whose newest turn also lost its
    oldest tokens; thoughts: whose earlier turns lost their thoughts to the template.
    answers: (n,) int64, how many of the two responses lost their newest tokens. cleaned: (n,) bool,
    pairs whose text contained special tokens.
    """

    shortened: np.ndarray
    cut: np.ndarray
    thoughts: np.ndarray
    answers: np.ndarray
    cleaned: np.ndarray

    def counts(self) -> dict[str, int]:
        """The number of each, by description."""
        words = {
            "prompts lost their oldest turns": self.shortened,
            "prompts lost the oldest tokens of their newest turn": self.cut,
            "prompts lost thoughts of earlier turns, which the chat template leaves out": (
                self.thoughts
            ),
            "answers lost their end": self.answers,
            "pairs lost special tokens in their text": self.cleaned,
        }
        return {what: int(found.sum()) for what, found in words.items()}

    def take(self, index: np.ndarray) -> "Changes":
        return Changes(*(getattr(self, one.name)[index] for one in fields(self)))


@dataclass(frozen=True)
class Encoding:
    """Encoded pairs, what was changed to fit them in, and how many were dropped, by reason."""

    pairs: TokenPairs
    changes: Changes
    dropped: Counter[str]


def encode(
    pairs: Sequence[TextPair],
    ids: np.ndarray,
    form: ChatFormat,
    max_length: int,
    max_prompt_length: int | np.ndarray,
) -> Encoding:
    """Encode pairs in a format and cut them to a length.

    A prompt longer than max_prompt_length loses its oldest turns, each up to the next user turn,
    and keeps leading system messages. If the newest turn alone is too long, it loses its oldest
    tokens; the beginning of text, the system message and the turn's header remain. A response that
    makes the whole longer than max_length loses its newest tokens before the end of sequence.
    Pairs are dropped if the template refuses the prompt or leaves part of it out, if the prompt
    cannot be cut to its length, or if a response does not close the thought that the template
    opens.

    ids: (n,) uint64, the pairs' ids. max_prompt_length: one for all, or (n,) one for each.
    Raises BadArgument if there is no room for a response.
    """
    limits = np.broadcast_to(max_prompt_length, len(pairs))
    if len(pairs) and max_length - limits.max() <= len(form.end):
        raise BadArgument(
            "max_length",
            max_length,
            f"leaves no room for a response after max_prompt_length={limits.max()} prompt tokens",
        )
    clean = [form.without_specials(pair) for pair in pairs]
    fitted = _fit(form, clean, limits)
    kept = [i for i, prompt in enumerate(fitted) if isinstance(prompt, _Prompt)]
    prompts = [prompt for prompt in fitted if isinstance(prompt, _Prompt)]
    used = [pairs[i] for i in kept]
    sides, shorter = [], np.zeros(len(kept), dtype=np.int64)
    for answers in ([clean[i].chosen for i in kept], [clean[i].rejected for i in kept]):
        texts = [form.completed(p.text, answer) for p, answer in zip(prompts, answers, strict=True)]
        starts, sequences = [], []
        for n, (prompt, whole) in enumerate(zip(prompts, form.ids(texts), strict=True)):
            start = common_prefix(prompt.whole, whole)
            sequence = np.delete(whole, prompt.removed)
            shorter[n] += len(sequence) + len(form.end) > max_length
            sequences.append(np.append(sequence[: max_length - len(form.end)], form.end))
            starts.append(start - len(prompt.whole) + len(prompt.ids))
        sides.append(Encoded(sequences, np.array(starts, dtype=np.int64)))
    return Encoding(
        TokenPairs(
            pairs=chosen_over_rejected(
                ids[kept],
                score_gap=score_gaps(used),
                disputed=disputes(used),
                probability=probabilities(used),
            ),
            chosen=sides[0],
            rejected=sides[1],
            prompts=[prompt.ids for prompt in prompts],
            texts=[{name: getattr(pair, name) for name in TEXTS} for pair in used],
        ),
        Changes(
            shortened=np.array([prompt.shortened for prompt in prompts], dtype=bool),
            cut=np.array([len(prompt.ids) < len(prompt.whole) for prompt in prompts], dtype=bool),
            thoughts=np.array([prompt.thoughts for prompt in prompts], dtype=bool),
            answers=shorter,
            cleaned=np.array([clean[i] is not pairs[i] for i in kept], dtype=bool),
        ),
        Counter(f"dropped for {reason}" for reason in fitted if isinstance(reason, str)),
    )


def distinct(made: Encoding, form: ChatFormat, max_length: int) -> Encoding:
    """The pairs whose responses differ as token ids; the others are dropped and counted."""
    pairs, dropped = made.pairs, Counter(made.dropped)
    equal = np.array([*map(np.array_equal, pairs.chosen.ids, pairs.rejected.ids)], dtype=bool)
    for i in map(int, np.flatnonzero(equal)):
        sides = [form.specials.sub("", pairs.texts[i][side]) for side in ("chosen", "rejected")]
        if sides[0] == sides[1]:
            why = "once special tokens are removed"
        elif form.trims and sides[0].strip() == sides[1].strip():
            why = "but for white space around them, which the chat template removes"
        elif made.changes.answers[i]:
            why = f"once they are cut to dataset.max_length={max_length}"
        else:
            why = "to the tokenizer"
        dropped[f"dropped for two answers that are equal {why}"] += 1
    kept = np.flatnonzero(~equal)
    return Encoding(pairs.take(kept), made.changes.take(kept), dropped)


@dataclass(frozen=True)
class _Prompt:
    """A prompt that fits: its text, and which of that text's ids are removed."""

    text: str
    whole: np.ndarray
    removed: slice
    shortened: bool
    thoughts: bool

    @property
    def ids(self) -> np.ndarray:
        return np.delete(self.whole, self.removed)


def _fit(form: ChatFormat, pairs: Sequence[TextPair], limits: np.ndarray) -> list[_Prompt | str]:
    """Prompts within their limits, or why a pair has none."""
    dialogues = [pair.prompt for pair in pairs]
    kept, texts = list(dialogues), form.prompts(dialogues)
    whole = form.ids([text or "" for text in texts])
    waiting = list(range(len(kept)))
    while True:
        waiting = [i for i in waiting if len(whole[i]) > limits[i] and _newer(kept[i])]
        if not waiting:
            break
        for i in waiting:
            kept[i] = _newer(kept[i])
        changed = form.prompts([kept[i] for i in waiting])
        encoded = form.ids([text or "" for text in changed])
        for i, text, ids in zip(waiting, changed, encoded, strict=True):
            texts[i], whole[i] = text, ids
    removed = dict.fromkeys(range(len(kept)), slice(0, 0))
    long = [i for i, ids in enumerate(whole) if len(ids) > limits[i]]
    blank = form.prompts([_blank(kept[i]) for i in long])
    for i, text, frame in zip(long, blank, form.ids([text or "" for text in blank]), strict=True):
        head = common_prefix(whole[i], frame)
        removed[i] = slice(head, head + len(whole[i]) - int(limits[i]))
        if text is None or len(frame) >= limits[i]:
            del removed[i]
    found: list[_Prompt | str] = []
    for i, text in enumerate(texts):
        gone = None if text is None else left_out(kept[i], text)
        if text is None:
            found.append("a prompt that the chat template refuses")
        elif gone is not None and gone != THOUGHTS:
            found.append(f"{gone} that the chat template leaves out")
        elif reason := form.unanswered(pairs[i]):
            found.append(reason)
        elif i not in removed:
            found.append(f"a prompt without room in dataset.max_prompt_length={limits[i]}")
        else:
            shortened = kept[i] is not dialogues[i]
            found.append(_Prompt(text, whole[i], removed[i], shortened, gone is not None))
    return found


def _newer(dialogue: list[Message]) -> list[Message]:
    """A dialogue without its oldest turn; empty if it has only one."""
    first = _first_turn(dialogue)
    turns = [i for i in range(first + 1, len(dialogue)) if dialogue[i]["role"] == "user"]
    return dialogue[:first] + dialogue[turns[0] :] if turns else []


def _blank(dialogue: list[Message]) -> list[Message]:
    first = _first_turn(dialogue)
    return dialogue[:first] + [{**message, "content": ""} for message in dialogue[first:]]


def _first_turn(dialogue: list[Message]) -> int:
    roles = [message["role"] for message in dialogue]
    return next((i for i, role in enumerate(roles) if role != "system"), len(roles))
