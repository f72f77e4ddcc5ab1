"""A reward model as a judge: the response with the higher reward wins."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from sympo.judges.protocol import FIRST, SECOND, TIE
from sympo.models.texts.classifiers import Released
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.reward_models import RewardModel
from sympo.models.texts.scorers import AUTOCAST
from sympo.protocols.judging import Judge, JudgedData, OnVerdict, Tokens
from sympo.types import BadArgument, Comparison, Verdict

# scored before their verdicts are reported
PAIRS_AT_A_TIME = 256


@dataclass(frozen=True, kw_only=True)
class RewardModelJudge(Judge):
    """Any sequence classifier of `transformers` with one output; its verdicts do not depend on
    which response is shown first.

    name_or_path: a local folder, such as `<run folder>/model` of `job=reward_model`, or a name on
        the hub, at `revision`. trust_remote_code: whether code that comes with the model may run.
    max_length: tokens of a dialogue and its response; None is the model's own maximum, at most
        4,096. The oldest turns are dropped first.
    precision: of the matrix products, float32 or bfloat16. tokens_per_pass: per forward pass, which
        bounds memory. device: as in PyTorch.
    """

    identity: ClassVar[str] = "reward_model"
    outside_identity: ClassVar[frozenset[str]] = Judge.outside_identity | {
        *("name_or_path", "revision", "trust_remote_code", "tokens_per_pass", "device")
    }

    name_or_path: str | None = None
    revision: str = "main"
    trust_remote_code: bool = False
    max_length: Tokens | None = None
    precision: str = "float32"
    tokens_per_pass: Tokens = 8192
    device: str = "cpu"
    _dataset: JudgedData | None = field(default=None, repr=False, compare=False)
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
            known = ", ".join(AUTOCAST)
            raise BadArgument("precision", self.precision, f"is not known: use one of {known}")
        self._released.check()

    @property
    def trained_in(self) -> Path | None:
        run = Path(self.name_or_path or "").absolute().parent
        return run if self.name_or_path and (run / "summary.json").is_file() else None

    def key(self) -> dict[str, Any]:
        return {**super().key(), "model": self._released.fingerprint()}

    def of(self, dataset: JudgedData) -> Self:
        dataset.vocabulary(self._released.tokenizer())  # BadInput if it cannot read the texts
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

    def _rewards(self, comparisons: Sequence[Comparison]) -> npt.NDArray[np.float64]:
        """The rewards of both responses, (n, 2); NaN if the dialogue cannot be written or is too
        long."""
        assert self._dataset is not None, "`of` binds a data set"
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
