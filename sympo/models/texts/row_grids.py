"""Rows with shared prefixes as dense grids, (rows, longest), for models that cells train together.

Rows of similar length waste little padding, and a grid needs no copies in attention. The rows of a
data set are padded once; a batch is a selection, cut to its longest row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sympo.models.texts.packed_rows import PackedRows, parts

# tokens of a grid: on a CPU its activations should stay in the caches, on a GPU launches are dear
TOKENS, TOKENS_ON_GPU = 512, 1 << 14


@dataclass(frozen=True)
class RowGrid:
    """R rows of at most L tokens, padded on the right.

    ids, positions: (R, L). bias: (R, 1, L, L), 0 for a key that a query sees, else -inf.
    targets: (R, L, sides), the id that a token predicts for each side; scored: (R, L, sides), 1 for
        predictions that count, 0 for others.
    """

    ids: Tensor
    positions: Tensor
    bias: Tensor
    targets: Tensor
    scored: Tensor


class RowTable:
    """All rows of a data set, padded; its parts are those of `RowGrid`, with the data set's longest
    row.

    shared, first: (rows,), as in `PackedRow`; lengths: (rows,), tokens of each.
    """

    def __init__(self, rows: PackedRows, device: torch.device, dtype: torch.dtype) -> None:
        self.lengths, self.sides = rows.tokens, rows.sides
        self.tokens = TOKENS if device.type == "cpu" else TOKENS_ON_GPU
        shape = (len(rows), int(self.lengths.max()))
        ids, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        targets = np.zeros((*shape, rows.sides), np.int64)
        scored = np.zeros((*shape, rows.sides), bool)
        for number, row in enumerate(rows.rows):
            ids[number, : len(row.tokens)] = row.tokens
            positions[number, : len(row.tokens)] = row.positions
            targets[number, row.predictor, row.side] = row.target
            scored[number, row.predictor, row.side] = True
        self.ids, self.positions, self.targets = (
            torch.from_numpy(array).to(device) for array in (ids, positions, targets)
        )
        self.scored = torch.from_numpy(scored).to(device, dtype)
        self.shared, self.first = (
            torch.tensor([getattr(row, name) for row in rows.rows]).to(device)
            for name in ("shared", "first")
        )

    def grids(self, index: np.ndarray) -> Iterator[RowGrid]:
        """The rows with these numbers, in their order, which should be by length."""
        return (self.grid(part) for part in parts(self.lengths, index, self.tokens))

    def grid(self, index: np.ndarray) -> RowGrid:
        """The rows with these numbers."""
        chosen = torch.from_numpy(index).to(self.ids.device, non_blocking=True)
        longest = int(self.lengths[index].max())

        def cut(table: Tensor) -> Tensor:
            return table[:, :longest].index_select(0, chosen)

        return RowGrid(
            ids=cut(self.ids),
            positions=cut(self.positions),
            bias=self._bias(chosen, longest),
            targets=cut(self.targets),
            scored=cut(self.scored),
        )

    def _bias(self, chosen: Tensor, longest: int) -> Tensor:
        place = torch.arange(longest, device=chosen.device)
        shared, first = self.shared[chosen, None], self.first[chosen, None]
        first_only = (place >= shared) & (place < first)
        unseen = place[:, None] < place
        unseen = unseen | ((place >= first)[:, :, None] & first_only[:, None])
        bias = torch.zeros(unseen.shape, dtype=self.scored.dtype, device=chosen.device)
        return bias.masked_fill_(unseen, -torch.inf)[:, None]
