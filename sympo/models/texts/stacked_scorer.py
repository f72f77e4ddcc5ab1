"""A single small Llama as a scorer of rows, computed as those that are trained together."""

import numpy as np
import torch
from torch import Tensor

from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.row_grids import RowTable
from sympo.models.texts.stacked_llama import StackedLlama


class StackedScorer:
    """Scores the rows of one data set by their log-probabilities.

    model: of one cell.
    """

    divided = False

    def __init__(self, model: StackedLlama, rows: PackedRows) -> None:
        self.model, self._table = model, RowTable(rows, model.device, model.weights.dtype)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def logps(self, rows: PackedRows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Summed log-probabilities of the answers of rows, sorted by length, and their numbers of
        tokens; both (rows, sides)."""
        lengths = torch.as_tensor(rows.lengths[index], dtype=torch.float32)
        grids = self._table.grids(index, self.model.tokens_per_pass)
        found = [self.model.logps(grid)[0] for grid in grids]
        return torch.cat(found), lengths.to(self.model.device)
