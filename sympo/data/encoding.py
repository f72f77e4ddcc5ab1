"""Dialogues as token ids: the format of a chat, and how pairs are cut to a length.

Training and sampling share one format. The text of a pair is the prompt as a policy is given it,
the answer and an end of sequence, encoded as one text, so that the ids of the prompt begin those
of the pair wherever the tokenizer lets them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sympo.types import BadInput, Encoded, TokenPairs, chosen_over_rejected

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# a chat template for tokenizers without one: the format of Anthropic's HH
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '\\n\\n' + {'system': 'System', 'user': 'Human', 'assistant': 'Assistant'}[message.role]"
    " + ': ' + message.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)
# templates ask for today's date by this name; a cell must not depend on the day of its run
FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}{{ '' }}"
QUESTION, ANSWER = "Question", "Answer"

# `role` (system, user, assistant or tool) and `content`, a text; where tools are used also
# `tool_calls`, `name` and `tool_call_id`, as chat templates know them
Message = dict[str, Any]
# what is kept of a pair for people and judges
TEXTS = ("prompt", "chosen", "rejected", "criterion")


@dataclass(frozen=True)
class TextPair:
    """Two answers to one prompt, a list of messages.

    criterion: what made people prefer the chosen one, `helpful` or `harmless`.
    gap: how far apart the answers' scores are that came with the label; None where there are none.
    notes: what was changed in reading the row, to be counted.
    """

    prompt: list[Message]
    chosen: str
    rejected: str
    criterion: str = "helpful"
    gap: float | None = None
    notes: tuple[str, ...] = ()


def score_gaps(pairs: Sequence[TextPair]) -> np.ndarray | None:
    """(n,) the gaps between the answers' scores; None unless every pair has one."""
    gaps = [pair.gap for pair in pairs]
    return None if None in gaps else np.array(gaps, dtype=np.float64)


@dataclass(frozen=True)
class Encoding:
    """Encoded pairs and what it took to fit them in.

    shortened: prompts that lost their oldest turns; cut: prompts whose newest turn lost its oldest
    tokens as well; answers: answers, of two a pair, that lost their newest tokens; cleaned: pairs
    whose text contained special tokens; refused: pairs that are left out, since the template
    refuses them or a system message leaves no room.
    """

    pairs: TokenPairs
    shortened: int
    cut: int
    answers: int
    cleaned: int
    refused: int


class ChatFormat:
    """How a tokenizer writes a dialogue: its chat template, or else the plain one of HH.

    lead: text between a prompt and its answer. end: (k,) the ids that close an answer; the last
    one, eos, is the end of turn that the template writes, or else the tokenizer's end of sequence.
    trims: whether the template removes white space around an answer.

    BadInput where the tokenizer has no end of sequence or its template no place for an answer.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self.special = {number for number, token in added.items() if token.special}
        written = sorted((added[number].content for number in self.special), key=len, reverse=True)
        self.specials = re.compile("|".join(map(re.escape, written)) or r"(?!)")

        question: list[Message] = [{"role": "user", "content": QUESTION}]
        spaced = {"role": "assistant", "content": f" {ANSWER} "}
        try:
            own = tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN
            self.template = FIXED_DATE + own
            prompt = self._render([question], add_generation_prompt=True)[0]
            full = self._render([[*question, spaced]])[0]
        except Exception as error:  # a template is a program and can fail in any way
            reason = " ".join(str(error).split())
            raise BadInput(f"model: its tokenizer's chat template fails ({reason})") from error
        self.trims = f" {ANSWER} " not in full
        before, answer, after = full.rpartition(ANSWER if self.trims else f" {ANSWER} ")
        if not answer:
            raise BadInput(
                "model: its tokenizer's chat template leaves out what the assistant says"
            )
        self.lead = before[len(prompt) :] if before.startswith(prompt) else ""
        self.end = self._end(before + answer, after)
        self.eos = int(self.end[-1])
        self.prompt = prompt

    def prompts(self, dialogues: Sequence[list[Message]]) -> list[str | None]:
        """The texts that ask for an answer; None where the template refuses a dialogue."""
        from jinja2 import TemplateError

        try:
            return list(self._render(dialogues, add_generation_prompt=True)) if dialogues else []
        except TemplateError:
            if len(dialogues) == 1:
                return [None]
        half = len(dialogues) // 2
        return [*self.prompts(dialogues[:half]), *self.prompts(dialogues[half:])]

    def completed(self, prompt: str, answer: str) -> str:
        """The text of a prompt and its answer, without the end."""
        return prompt + self.lead + (answer.strip() if self.trims else answer)

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of texts; no special tokens are added to those that the template wrote."""
        if not texts:
            return []
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False,
            return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        return [np.array(ids, dtype=np.int64) for ids in encoded["input_ids"]]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of an answer's ids, without special tokens."""
        # in its place after a prompt, where tokenizers neither add a space nor drop one
        before = self.ids([self.prompt])[0]
        return (
            self._text(np.concatenate([before, np.asarray(ids, dtype=np.int64)]))
            .removeprefix(self._text(before))
            .removeprefix(self.lead)
        )

    def without_specials(self, pair: TextPair) -> TextPair:
        """The pair, its text freed of what the tokenizer would read as special tokens."""
        texts = [message["content"] for message in pair.prompt] + [pair.chosen, pair.rejected]
        if not any(map(self.specials.search, texts)):
            return pair
        *prompt, chosen, rejected = (self.specials.sub("", text) for text in texts)
        messages = zip(pair.prompt, prompt, strict=True)
        cleaned = [{**message, "content": text} for message, text in messages]
        return replace(pair, prompt=cleaned, chosen=chosen, rejected=rejected)

    def _render(
        self, dialogues: Sequence[list[Message]], add_generation_prompt: bool = False
    ) -> list[str]:
        rendered: Any = self.tokenizer.apply_chat_template(
            list(dialogues),
            chat_template=self.template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            enable_thinking=False,  # the pairs hold no thoughts; templates without any ignore it
        )
        return rendered

    def _text(self, ids: np.ndarray) -> str:
        text: Any = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _end(self, answered: str, after: str) -> np.ndarray:
        whole, part = self.ids([answered + after, answered])
        end = whole[common_prefix(whole, part) :]
        eos = self.tokenizer.eos_token_id
        special = np.flatnonzero(end == eos if eos in end else np.isin(end, list(self.special)))
        if len(special):
            return end[: special[0] + 1]
        if eos is None:
            raise BadInput(
                "model: its tokenizer has no end-of-sequence token, which every answer ends with"
            )
        return np.array([eos], dtype=np.int64)


def encode(
    pairs: Sequence[TextPair],
    ids: np.ndarray,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    max_prompt_length: int | np.ndarray,
) -> Encoding:
    """Encode pairs in the format of a tokenizer and cut them to a length.

    A prompt longer than max_prompt_length loses its oldest turns, each with what was said until
    the next user turn, and keeps system messages that stand first. Where the newest turn alone is
    too long, it loses its oldest tokens; the beginning of text, the system message and the header
    before the turn stay. An answer that makes the whole longer than max_length loses its newest
    tokens before the end of sequence.

    ids: (n,) uint64, the pairs' ids. max_prompt_length: one for all, or (n,) one for each.
    BadInput where there is no room for an answer.
    """
    form = ChatFormat(tokenizer)
    limits = np.broadcast_to(max_prompt_length, len(pairs))
    if len(pairs) and max_length - limits.max() <= len(form.end):
        raise BadInput(
            f"dataset.max_length={max_length} leaves no room for an answer after "
            f"dataset.max_prompt_length={limits.max()} tokens of prompt"
        )
    clean = [form.without_specials(pair) for pair in pairs]
    fitted = _fit(form, [pair.prompt for pair in clean], limits)
    kept = [i for i, prompt in enumerate(fitted) if prompt is not None]
    prompts = [prompt for prompt in fitted if prompt is not None]
    sides, shorter = [], 0
    for answers in ([clean[i].chosen for i in kept], [clean[i].rejected for i in kept]):
        texts = [form.completed(p.text, answer) for p, answer in zip(prompts, answers, strict=True)]
        starts, sequences = [], []
        for prompt, whole in zip(prompts, form.ids(texts), strict=True):
            start = common_prefix(prompt.whole, whole)
            sequence = np.delete(whole, prompt.removed)
            shorter += len(sequence) + len(form.end) > max_length
            sequences.append(np.append(sequence[: max_length - len(form.end)], form.end))
            starts.append(start - len(prompt.whole) + len(prompt.ids))
        sides.append(Encoded(sequences, np.array(starts, dtype=np.int64)))
    return Encoding(
        TokenPairs(
            pairs=chosen_over_rejected(ids[kept], score_gap=score_gaps([pairs[i] for i in kept])),
            chosen=sides[0],
            rejected=sides[1],
            prompts=[prompt.ids for prompt in prompts],
            texts=[{name: getattr(pairs[i], name) for name in TEXTS} for i in kept],
        ),
        shortened=sum(prompt.shortened for prompt in prompts),
        cut=sum(len(prompt.ids) < len(prompt.whole) for prompt in prompts),
        answers=shorter,
        cleaned=sum(clean[i] is not pairs[i] for i in kept),
        refused=len(pairs) - len(kept),
    )


@dataclass(frozen=True)
class _Prompt:
    """A prompt that fits: its text, and which of that text's ids have to go."""

    text: str
    whole: np.ndarray
    removed: slice
    shortened: bool

    @property
    def ids(self) -> np.ndarray:
        return np.delete(self.whole, self.removed)


def _fit(
    form: ChatFormat, dialogues: Sequence[list[Message]], limits: np.ndarray
) -> list[_Prompt | None]:
    """Prompts of at most so many tokens each; None where a dialogue cannot be made to fit."""
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
    removed = {i: slice(0, 0) for i, text in enumerate(texts) if text is not None}
    long = [i for i in removed if len(whole[i]) > limits[i]]
    blank = form.prompts([_blank(kept[i]) for i in long])
    for i, text, frame in zip(long, blank, form.ids([text or "" for text in blank]), strict=True):
        head = common_prefix(whole[i], frame)
        removed[i] = slice(head, head + len(whole[i]) - int(limits[i]))
        if text is None or len(frame) >= limits[i]:
            del removed[i]
    return [
        _Prompt(text, whole[i], removed[i], kept[i] is not dialogues[i])
        if text is not None and i in removed
        else None
        for i, text in enumerate(texts)
    ]


def _newer(dialogue: list[Message]) -> list[Message]:
    """A dialogue without its oldest turn; empty where it has one turn only."""
    first = _first_turn(dialogue)
    turns = [i for i in range(first + 1, len(dialogue)) if dialogue[i]["role"] == "user"]
    return dialogue[:first] + dialogue[turns[0] :] if turns else []


def _blank(dialogue: list[Message]) -> list[Message]:
    first = _first_turn(dialogue)
    return dialogue[:first] + [{**message, "content": ""} for message in dialogue[first:]]


def _first_turn(dialogue: list[Message]) -> int:
    roles = [message["role"] for message in dialogue]
    return next((i for i, role in enumerate(roles) if role != "system"), len(roles))


def common_prefix(one: np.ndarray, other: np.ndarray) -> int:
    """The length of the longest common prefix."""
    size = min(len(one), len(other))
    differ = np.flatnonzero(one[:size] != other[:size])
    return int(differ[0]) if len(differ) else size
