"""UltraFeedback, binarized: which of two models' responses GPT-4 scored higher."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sympo.data.message_parsing import Unusable, dialogue_pair, messages, value
from sympo.data.row_sources import PlacedRow, file_rows, folder, hub_rows, split_files
from sympo.data.text_dataset import TextDataset
from sympo.data.text_pair import TextPair

HUB = "HuggingFaceH4/ultrafeedback_binarized"


@dataclass(frozen=True, kw_only=True)
class UltraFeedback(TextDataset):
    """The splits train_prefs and test_prefs; rows with two equal scores carry no preference.

    path: a folder that holds `{train,test}_prefs.jsonl.gz` or `data/{train,test}_prefs-*.parquet`;
        None downloads them.
    Source: Cui et al. (2023), arXiv 2310.01377; Tunstall et al. (2023), arXiv 2310.16944.
    """

    identity: ClassVar[str] = "ultrafeedback"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"path"})

    path: str | None = None

    def rows(self, split: Literal["train", "test"]) -> Iterator[PlacedRow]:
        if self.path is None:
            return hub_rows(HUB, f"{split}_prefs")
        return file_rows(split_files(folder(self.path), f"{split}_prefs"))

    def pair(self, row: dict[str, Any]) -> TextPair:
        scores = [
            value(row, key, int, float, type(None)) for key in ("score_chosen", "score_rejected")
        ]
        pair = dialogue_pair(messages(row, "chosen"), messages(row, "rejected"))
        # some sources give only the order of the responses
        if scores[0] is not None and scores[0] == scores[1]:
            raise Unusable("two equal scores")
        return pair
