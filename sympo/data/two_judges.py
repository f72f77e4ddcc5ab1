"""Pairs that two judges have compared: labels of the first, with the second's disagreements."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from sympo.data.message_parsing import short, value
from sympo.data.preference_columns import PreferenceColumns
from sympo.data.row_sources import PlacedRow, file_rows, folder, split_files
from sympo.data.text_pair import TextPair
from sympo.data.text_rows import TextRows
from sympo.ranges import Range
from sympo.types import BadArgument, BadInput


@dataclass(frozen=True, kw_only=True)
class TwoJudges(PreferenceColumns):
    """Pairs with the verdicts of two judges, divided into training and test rows by prompt.

    Columns: those of PreferenceColumns by the first judge's verdict, `probability` of that verdict
    (0.5 to 1), and `second_judge_agrees`. With `noise_model=second_judge`, training and validation
    labels are those of the second judge. Test rows are the first judge's confident verdicts.

    path: a folder that holds `two_judges.jsonl.gz` or with another suffix of the readers.
    confident: the lowest probability of a test row.
    """

    identity: ClassVar[str] = "two_judges"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"path"})
    has_test: ClassVar[bool] = False
    scored: ClassVar[bool] = True
    twice_judged: ClassVar[bool] = True

    path: str | None = None
    test_share: Annotated[float, Range(above=0, below=1)] = 0.3
    confident: Annotated[float, Range(least=0.5, most=1)] = 0.9

    def rows(self, split: Literal["train", "test"]) -> Iterator[PlacedRow]:
        if self.path is None:
            raise BadArgument("path", "null", "must be a folder that holds two_judges.jsonl.gz")
        return file_rows(split_files(folder(self.path), "two_judges"))

    def pair(self, row: dict[str, Any]) -> TextPair:
        surely = float(value(row, "probability", float, int))
        agrees = row.get("second_judge_agrees")
        if not isinstance(agrees, bool):
            raise BadInput(f"second_judge_agrees={short(agrees)} must be of type bool")
        return replace(super().pair(row), gap=surely - 0.5, disputed=not agrees)

    def read(self) -> tuple[TextRows, TextRows]:
        train, test = super().read()
        gaps = np.array([pair.gap for pair in test.pairs])
        sure = test.take(np.flatnonzero(gaps >= self.confident - 0.5))
        unsure = {f"below a probability of {self.confident:g}": len(test) - len(sure)}
        return train, replace(sure, dropped=test.dropped + Counter(unsure))
