"""How prompts and responses are written as text: by a chat template, or raw.

Training and sampling share one format: a sampling prompt is a prefix of the training text, and a
training response ends with the end of sequence that ends a sampled one.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from sympo.data.template_checks import open_thought
from sympo.data.text_pair import Message, TextPair
from sympo.types import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# a chat template for tokenizers without one: the format of Anthropic's HH
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '\\n\\n' + {'system': 'System', 'user': 'Human', 'assistant': 'Assistant'}[message.role]"
    " + ': ' + message.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)
# templates get today's date by this name; a cell must not depend on the day of its run
FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}{{ '' }}"
QUESTION, ANSWER = "Question", "Answer"


class ChatFormat:
    """How a tokenizer writes a dialogue: its chat template, or else the plain one of HH.

    lead: text between a prompt and its response. end: (k,) the ids that end a response; the last
    one, eos, is the end of turn that the template writes, or else the tokenizer's end of sequence.
    trims: whether the template removes white space around a response. opened: the tag of a thought
    that the prompt leaves open, and the tag that closes it; None if it opens none. thought: the
    same if lead does not close it, so that the response has to.

    Raises BadInput if the tokenizer has no end of sequence or its template omits the response.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._learn(tokenizer)
        question: list[Message] = [{"role": "user", "content": QUESTION}]
        spaced = {"role": "assistant", "content": f" {ANSWER} "}
        try:
            own = tokenizer.get_chat_template() if tokenizer.chat_template else PLAIN
            self.template = FIXED_DATE + own
            prompt = self._render([question], add_generation_prompt=True)[0]
            full = self._render([[*question, spaced]])[0]
        except Exception as error:  # a template is a program and can fail in any way
            reason = " ".join(str(error).split())
            raise BadInput(f"the tokenizer's chat template fails ({reason})") from error
        self.trims = f" {ANSWER} " not in full
        before, answer, after = full.rpartition(ANSWER if self.trims else f" {ANSWER} ")
        if not answer:
            raise BadInput("the tokenizer's chat template leaves out what the assistant says")
        self.lead = before[len(prompt) :] if before.startswith(prompt) else ""
        self.end = self._end(before + answer, after)
        self.eos = int(self.end[-1])
        self.prompt = prompt
        asks = prompt.rpartition(QUESTION)[2]
        self.opened, self.thought = open_thought(asks), open_thought(asks + self.lead)

    def _learn(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self.special = {number for number, token in added.items() if token.special}
        written = sorted((added[number].content for number in self.special), key=len, reverse=True)
        self.specials = re.compile("|".join(map(re.escape, written)) or r"(?!)")

    def prompts(self, dialogues: Sequence[list[Message]]) -> list[str | None]:
        """The sampling prompts; None for a dialogue that the template refuses."""
        from jinja2 import TemplateError

        try:
            return list(self._render(dialogues, add_generation_prompt=True)) if dialogues else []
        except TemplateError:
            if len(dialogues) == 1:
                return [None]
        half = len(dialogues) // 2
        return [*self.prompts(dialogues[:half]), *self.prompts(dialogues[half:])]

    def completed(self, prompt: str, answer: str) -> str:
        """The text of a prompt and its response, without the end."""
        answer = answer.strip() if self.trims else answer
        if self.opened is None or self.opened[1] not in answer:
            return prompt + self.lead + answer
        # the response continues the thought that the prompt has opened
        thinks = answer.lstrip()
        if thinks.startswith(self.opened[0]):
            answer = thinks.removeprefix(self.opened[0])
            answer = answer.removeprefix("\n") if prompt.endswith("\n") else answer
        return prompt + answer

    def unanswered(self, pair: TextPair) -> str | None:
        """Why a pair is unusable: a response does not close the thought it begins in; or None."""
        if self.thought is None or all(self.thought[1] in x for x in (pair.chosen, pair.rejected)):
            return None
        return f"an answer that does not close the {self.thought[0]} of the chat template"

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
        """The text of a response's ids, without special tokens."""
        # decoded after a prompt, since there tokenizers neither add a space nor drop one
        before = self.ids([self.prompt])[0]
        whole = self._text(np.concatenate([before, np.asarray(ids, dtype=np.int64)]))
        # undecodable bytes can merge with the line break before them
        kept = common_prefix(np.array([*whole]), np.array([*self._text(before)]))
        return whole[kept:].removeprefix(self.lead)

    def without_specials(self, pair: TextPair) -> TextPair:
        """The pair without text that the tokenizer would read as special tokens."""
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
        rendered = self.tokenizer.apply_chat_template(
            list(dialogues),
            chat_template=self.template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            enable_thinking=False,  # pairs have no thoughts; other templates ignore it
        )
        return cast("list[str]", rendered)

    def _text(self, ids: np.ndarray) -> str:
        text = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return cast(str, text)

    def _end(self, answered: str, after: str) -> np.ndarray:
        whole, part = self.ids([answered + after, answered])
        end = whole[common_prefix(whole, part) :]
        eos = self.tokenizer.eos_token_id
        special = np.flatnonzero(end == eos if eos in end else np.isin(end, list(self.special)))
        if len(special):
            return end[: special[0] + 1]
        if eos is None:
            raise BadInput(
                "the tokenizer has no end-of-sequence token, which every response ends with"
            )
        return np.array([eos], dtype=np.int64)


class RawFormat(ChatFormat):
    """Raw prompts, without a chat template: prompt, response, and the end of sequence.

    A tokenizer that begins any text with a beginning of text begins these with one, unless they
    have it. Raises BadInput if the tokenizer has no end of sequence.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._learn(tokenizer)
        self.lead, self.trims, self.opened, self.thought = "", False, None, None
        self.end = self._end(ANSWER, "")
        self.eos = int(self.end[-1])
        begins = tokenizer.bos_token_id in list(tokenizer(ANSWER)["input_ids"])[:1]
        self.begin = str(tokenizer.bos_token) if begins else ""
        self.prompt = self.begin + QUESTION

    def prompts(self, dialogues: Sequence[list[Message]]) -> list[str | None]:
        texts = ("".join(message["content"] for message in dialogue) for dialogue in dialogues)
        return [self.begin + text.removeprefix(self.begin) for text in texts]

    def without_specials(self, pair: TextPair) -> TextPair:
        """The pair without special tokens in its responses; those of the prompt are meant."""
        answers = [self.specials.sub("", text) for text in (pair.chosen, pair.rejected)]
        if answers == [pair.chosen, pair.rejected]:
            return pair
        return replace(pair, chosen=answers[0], rejected=answers[1])


def common_prefix(one: np.ndarray, other: np.ndarray) -> int:
    """The length of the longest common prefix."""
    size = min(len(one), len(other))
    differ = np.flatnonzero(one[:size] != other[:size])
    return int(differ[0]) if len(differ) else size
