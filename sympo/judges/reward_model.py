"""A reward model as a judge: the answer with the higher reward is the better one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from sympo.judges.base import Judge, OnVerdict
from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.models.texts.classifiers import Released
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.reward_models import RewardModel
from sympo.models.texts.scorers import AUTOCAST
from sympo.types import BadInput, Comparison, Verdict

# that are scored before their verdicts are told
PAIRS_AT_A_TIME = 256
MOST_TOKENS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class RewardModelJudge(Judge):
    """Any sequence classifier of `transformers` with one output, whose order of two answers does
    not depend on which is shown first.

    name_or_path: a local folder, `<run folder>/model` of `job=reward_model` for instance, or a name
        on the hub, of which `revision` is taken. trust_remote_code: whether code that comes with
        the model may run. max_length: of a dialogue and its answer, in tokens; null takes all
        positions that the model knows, at most 4,096. The oldest turns go first.
    precision: float32 or bfloat16, of the matrix products; tokens_per_pass: tokens that go through
        the model at a time; device: as PyTorch calls it.
    """

    not_asked: ClassVar = Judge.not_asked | {
        *("name_or_path", "revision", "trust_remote_code", "tokens_per_pass", "device")
    }

    name_or_path: str | None = None
    revision: str = "main"
    trust_remote_code: bool = False
    max_length: int | None = None
    precision: str = "float32"
    tokens_per_pass: int = 8192
    device: str = "cpu"
    _dataset: Any = field(default=None, repr=False, compare=False)
    _scorers: list[RewardModel] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def _released(self) -> Released:
        return Released(
            name_or_path=self.name_or_path,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
        )

    def check(self) -> None:
        super().check()
        if self.precision not in AUTOCAST:
            raise BadInput(
                f"judge.precision={self.precision} is not known: use one of {', '.join(AUTOCAST)}"
            )
        for key in ("max_length", "tokens_per_pass"):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= MOST_TOKENS:
                raise BadInput(
                    f"judge.{key}={value} must be at least 1 and at most {MOST_TOKENS:,}"
                )
        self._released.check()

    def key(self) -> dict[str, Any]:
        return {**super().key(), "model": self._released.fingerprint()}

    def of(self, dataset: Any) -> "RewardModelJudge":
        dataset.vocabulary(self._released.tokenizer())  # BadInput where it cannot read the texts
        return replace(self, _dataset=dataset)

    @property
    def _scorer(self) -> RewardModel:
        if not self._scorers:  # loaded once for all data sets
            model: Any = self._released.load(self._released.folder).requires_grad_(False)
            self._scorers.append(RewardModel(model.to(self.device), self.precision, self._longest))
        return self._scorers[0]

    @property
    def _longest(self) -> int:
        return self.max_length or min(self._released.sizes()[1] or 4096, 4096)

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        # the two orders of a pair are scored once
        pairs: dict[str, list[int]] = {}
        for number, one in enumerate(comparisons):
            same = json.dumps([list(one.dialogue), sorted([one.first, one.second])])
            pairs.setdefault(same, []).append(number)
        groups = list(pairs.values())
        for start in range(0, len(groups), PAIRS_AT_A_TIME):
            part = groups[start : start + PAIRS_AT_A_TIME]
            rewards = self._rewards([comparisons[numbers[0]] for numbers in part])
            for numbers, (one, other) in zip(part, rewards, strict=True):
                for number in numbers:
                    swapped = comparisons[number].first != comparisons[numbers[0]].first
                    on_verdict(number, _verdict(*(other, one) if swapped else (one, other)))

    def _rewards(self, comparisons: Sequence[Comparison]) -> np.ndarray:
        """The rewards of both answers, (n, 2); NaN where the dialogue cannot be written or is too
        long."""
        made = self._dataset.answered(
            [comparison.dialogue for comparison in comparisons],
            [comparison.first for comparison in comparisons],
            [comparison.second for comparison in comparisons],
            self._released.tokenizer(),
            self._longest,
        )
        found = np.full((len(comparisons), 2), np.nan)
        if len(made):
            rows = PackedRows(made.chosen, made.rejected)
            found[made.pairs.ids.astype(int)] = self._scorer.score(rows, self.tokens_per_pass)
        return found


def _verdict(first: float, second: float) -> Verdict:
    if np.isnan(first) or np.isnan(second):
        return Verdict(
            None, "no rewards: the template refuses or leaves out part of it, or it is too long"
        )
    choice = TIE if first == second else FIRST if first > second else SECOND
    return Verdict(choice, f"{first:.6g} against {second:.6g}")
