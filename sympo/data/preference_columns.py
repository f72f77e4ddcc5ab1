"""Preference rows whose columns the user names, with a test split or a share of the prompts."""

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from sympo import seeding
from sympo.data.chat_format import ChatFormat, RawFormat
from sympo.data.message_parsing import Unusable, dialogue_pair, has_thoughts, value
from sympo.data.pair_columns import (
    Said,
    answers,
    dialogue,
    gap,
    joined,
    probability,
    said,
    with_system,
    without_prompt,
)
from sympo.data.text_dataset import TextDataset
from sympo.data.text_pair import Message, TextPair
from sympo.data.text_rows import TextRows
from sympo.ranges import Range
from sympo.types import BadArgument, BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class PreferenceColumns(TextDataset):
    """Settings of rows with a prompt, a chosen and a rejected response, as strings or messages.

    test_share: the share of the training prompts that make the test split if there is none.
    prompt: the column of the prompt; None takes all but the last message of two whole dialogues.
    input: a column that is added to the prompt after a blank line; system: of a system message.
    chosen, rejected: the columns of the responses: a string, the assistant's message, or the whole
        dialogue. A column inside another one is written `outer.inner`.
    score_chosen, score_rejected: columns of the responses' scores, which tell a noise model how
        close a pair is. The label remains that of the columns.
    source, annotator: columns of where a pair comes from and of who labelled it, which set the
        rates of noise models.
    probability: a column with the probability that `chosen` is preferred, in [0, 1]. A loss l then
        costs p l(z) + (1 - p) l(-z). Rows below one half have their responses swapped, and rows of
        one half are dropped, since they prefer neither.
    raw_prompts: use prompts, which must be strings, without a chat template.
    """

    on_rendered: ClassVar[str] = (
        f"{TextDataset.on_rendered}; dataset.raw_prompts=true takes such prompts as they are"
    )

    test_share: Annotated[float, Range(above=0, below=1)] = 0.1
    prompt: str | None = "prompt"
    input: str | None = None
    system: str | None = None
    chosen: str = "chosen"
    rejected: str = "rejected"
    raw_prompts: bool = False
    score_chosen: str | None = None
    score_rejected: str | None = None
    source: str | None = None
    annotator: str | None = None
    probability: str | None = None

    @property
    @abstractmethod
    def has_test(self) -> bool:
        """Whether there is a test split; else it is a share of the training prompts."""

    def form(self, tokenizer: "PreTrainedTokenizerBase") -> ChatFormat:
        return RawFormat(tokenizer) if self.raw_prompts else super().form(tokenizer)

    def _rendered(self, prompts: Sequence[Sequence[Message]]) -> int:
        return 0 if self.raw_prompts else super()._rendered(prompts)

    def check(self) -> None:
        if self.raw_prompts and self.prompt is None:
            raise BadArgument("raw_prompts", "true", _RAW.format("prompt=null"))
        if self.raw_prompts and self.system is not None:
            raise BadArgument("raw_prompts", "true", _RAW.format(f"system={self.system}"))
        if self.input is not None and self.prompt is None:
            raise BadArgument(
                "input", self.input, "is added to a prompt, and prompt=null means there is none"
            )
        if (self.score_chosen is None) != (self.score_rejected is None):
            raise BadArgument(
                "score_chosen",
                self.score_chosen,
                f"and score_rejected={self.score_rejected}: give both columns or neither",
            )
        super().check()

    @property
    def scored(self) -> bool:
        return self.score_chosen is not None

    @property
    def sourced(self) -> bool:
        return self.source is not None

    @property
    def annotated(self) -> bool:
        return self.annotator is not None

    def fingerprint(self) -> str:
        if self.source is None and self.annotator is None:
            return super().fingerprint()
        digest = hashlib.blake2b(super().fingerprint().encode(), digest_size=8)
        for rows in self.released:
            for i in np.argsort(rows.ids):
                pair = rows.pairs[i]
                digest.update(f"{pair.subset}\n{pair.annotator}\n".encode())
        return digest.hexdigest()

    def read(self) -> tuple[TextRows, TextRows]:
        if self.has_test:
            return super().read()
        rows = self.usable("train")
        share = seeding.uniform(0, "test", rows.prompts) < self.test_share
        if len(rows) and not share.any():
            raise BadArgument(
                "test_share",
                self.test_share,
                f"takes none of the {len(rows)} usable rows for the test split; ask for more",
            )
        test = replace(rows.take(np.flatnonzero(share)), read=int(share.sum()), dropped=Counter())
        return rows.without(test.prompts, "taken for the test split"), test

    def pair(self, row: dict[str, Any]) -> TextPair:
        pair = self._whole(row) if self.prompt is None else self._answered(row, self.prompt)
        notes = list(pair.notes)
        if self.system is not None:
            pair = with_system(pair, value(row, self.system, str, type(None)))
        if any(has_thoughts(row, key) for key in (self.prompt, self.chosen, self.rejected) if key):
            notes.append("rows with thoughts beside what a message says, which were left out")
        distance = None
        if self.score_chosen is not None and self.score_rejected is not None:
            distance = gap(row, self.score_chosen, self.score_rejected)
            if distance < 0:
                notes.append(
                    "rows whose rejected answer has the higher score; they keep their label"
                )
        pair = replace(
            pair,
            gap=None if distance is None else abs(distance),
            subset="" if self.source is None else _name(row, self.source),
            annotator="" if self.annotator is None else _name(row, self.annotator),
        )
        if self.probability is not None:
            sure = probability(row, self.probability)
            if sure < 0.5:
                notes.append("rows with a probability below one half; their answers were swapped")
                pair = replace(pair, chosen=pair.rejected, rejected=pair.chosen)
            pair = replace(pair, probability=max(sure, 1 - sure))
        return replace(pair, notes=tuple(notes))

    def _whole(self, row: dict[str, Any]) -> TextPair:
        return dialogue_pair(dialogue(row, self.chosen), dialogue(row, self.rejected))

    def _answered(self, row: dict[str, Any], key: str) -> TextPair:
        try:
            prompt = self._prompt(row, key)
        except BadInput as error:
            whole = key not in row and isinstance(row.get(self.chosen), list)
            hint = "; prompt=null takes it from two whole dialogues" if whole else ""
            raise BadInput(f"{error}{hint}") from error
        chosen, rejected = said(row, self.chosen), said(row, self.rejected)
        if self.input is not None:
            prompt = joined(prompt, value(row, self.input, str, type(None)), key)
        cut = without_prompt(prompt, chosen, rejected)
        pair = answers(prompt, *cut)
        if cut == (chosen, rejected):
            return pair
        pair = replace(pair, notes=("rows whose answers began with the prompt, which was cut",))
        if self.raw_prompts:
            return pair
        # the chat template writes what separates a response from the prompt
        return replace(pair, chosen=pair.chosen.lstrip(), rejected=pair.rejected.lstrip())

    def _prompt(self, row: dict[str, Any], key: str) -> Said:
        if not self.raw_prompts:
            return said(row, key)
        text: str | None = value(row, key, str, type(None))
        if text is None:
            raise Unusable(f"a null in {key}")
        return text


def _name(row: Mapping[str, Any], key: str) -> str:
    """A column's text or number; raises Unusable if it is missing."""
    found = value(row, key, str, int, type(None))
    if found is None or found == "":
        raise Unusable(f"a missing {key}")
    return str(found)


_RAW = "is not allowed with {}: it uses prompts that are strings, without a template"
