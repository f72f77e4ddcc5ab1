"""Rows with shared prefixes as dense grids, (rows, longest), for models that cells train together.

Rows of similar length waste little padding, and a grid needs no copies in attention. The rows of a
data set are padded once; a batch is a selection, cut to its longest row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sympo.models.texts.packed_rows import PackedRows, parts, send

# tokens of a grid: with PyTorch's operators on a CPU, activations should stay in the caches;
# compiled passes arrange a cell's weights once a grid; on a GPU launches are dear
TOKENS, TOKENS_COMPILED, TOKENS_ON_GPU = 512, 1 << 12, 1 << 14


@dataclass(frozen=True)
class PredictingTokens:
    """The rows of a data set without the last token of each side, which predicts nothing and which
    no other token sees; in host memory, int64.

    ids, positions: (tokens,). targets: (tokens, sides), the id that a token predicts for each side,
        or -1.
    offset: (rows + 1,) the first token of each row. shared, first: (rows,), as in `PackedRow`.
    predictor: (rows,) the first token of each row that predicts.
    """

    ids: Tensor
    positions: Tensor
    targets: Tensor
    offset: Tensor
    shared: Tensor
    first: Tensor
    predictor: Tensor

    @classmethod
    def of(cls, rows: PackedRows) -> "PredictingTokens":
        ids, positions, targets = [], [], []
        for row in rows.rows:
            own = np.full((len(row.tokens), rows.sides), -1)
            own[row.predictor, row.side] = row.target
            ends = [row.first - 1, len(row.tokens) - 1][: rows.sides]
            ids.append(np.delete(row.tokens, ends))
            positions.append(np.delete(row.positions, ends))
            targets.append(np.delete(own, ends, 0))
        # a single side is its own prefix
        shared, first, predictor = np.array(
            [
                (min(row.shared, row.first - 1), row.first - 1, row.predictor.min())
                for row in rows.rows
            ],
            np.int64,
        ).T
        return cls(
            ids=send("cpu", np.concatenate(ids)),
            positions=send("cpu", np.concatenate(positions)),
            targets=send("cpu", np.concatenate(targets)),
            offset=send("cpu", np.cumsum([0, *map(len, ids)])),
            shared=send("cpu", shared.copy()),
            first=send("cpu", first.copy()),
            predictor=send("cpu", predictor.copy()),
        )

    @property
    def sides(self) -> int:
        return self.targets.shape[1]

    @cached_property
    def largest(self) -> tuple[int, int]:
        """The largest token id, read or predicted, and the largest position."""
        return int(max(self.ids.max(), self.targets.max())), int(self.positions.max())

    @cached_property
    def addresses(self) -> Tensor:
        """Of all parts, in their order, for compiled code."""
        return torch.tensor([getattr(self, part.name).data_ptr() for part in fields(self)])


class RowTable:
    """All rows of a data set, padded on the right to the longest.

    ids, positions: (rows, longest). targets: (rows, longest, sides), the id that a token predicts
        for each side; scored: (rows, longest, sides), 1 for predictions that count, 0 for others.
    shared, first: (rows,), as in `PackedRow`; lengths: (rows,), tokens of each.
    """

    def __init__(self, rows: PackedRows, device: torch.device, dtype: torch.dtype) -> None:
        self.lengths, self.sides, self._rows = rows.tokens, rows.sides, rows
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

    @cached_property
    def predicting(self) -> PredictingTokens:
        """The same rows, not padded, for compiled code."""
        return PredictingTokens.of(self._rows)

    def grids(self, index: np.ndarray, most_tokens: int) -> Iterator["RowGrid"]:
        """The rows with these numbers, in their order, which should be by length."""
        return (self.grid(part) for part in parts(self.lengths, index, most_tokens))

    def grid(self, index: np.ndarray) -> "RowGrid":
        """The rows with these numbers."""
        return RowGrid(self, index)


@dataclass(frozen=True)
class RowGrid:
    """R rows of a table, cut to L tokens, the longest of them; each part is made when it is needed.

    index: (R,), their numbers.
    """

    table: RowTable
    index: np.ndarray

    @cached_property
    def ids(self) -> Tensor:
        """(R, L)."""
        return self._cut(self.table.ids)

    @cached_property
    def positions(self) -> Tensor:
        """(R, L)."""
        return self._cut(self.table.positions)

    @cached_property
    def targets(self) -> Tensor:
        """(R, L, sides), the id that a token predicts for each side."""
        return self._cut(self.table.targets)

    @cached_property
    def scored(self) -> Tensor:
        """(R, L, sides), 1 for predictions that count, 0 for others."""
        return self._cut(self.table.scored)

    @cached_property
    def bias(self) -> Tensor:
        """(R, 1, L, L), 0 for a key that a query sees, else -inf."""
        chosen, table = self._chosen, self.table
        place = torch.arange(self._longest, device=chosen.device)
        shared, first = table.shared[chosen, None], table.first[chosen, None]
        first_only = (place >= shared) & (place < first)
        unseen = place[:, None] < place
        unseen = unseen | ((place >= first)[:, :, None] & first_only[:, None])
        bias = torch.zeros(unseen.shape, dtype=table.scored.dtype, device=chosen.device)
        return bias.masked_fill_(unseen, -torch.inf)[:, None]

    @cached_property
    def _chosen(self) -> Tensor:
        return torch.from_numpy(self.index).to(self.table.ids.device, non_blocking=True)

    @cached_property
    def _longest(self) -> int:
        return int(self.table.lengths[self.index].max())

    def _cut(self, table: Tensor) -> Tensor:
        return table[:, : self._longest].index_select(0, self._chosen)
