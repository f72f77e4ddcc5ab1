"""The losses of stacked cells, each cell with its own."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sympo.objective import Objective
from sympo.protocols.models import Loss, Margin


class StackedObjective:
    """One margin for all cells and a loss for each; the gradient of a cell is its own.

    shared: whether cells with equal losses share a call. On a GPU they should: hundreds of calls
        would take most of a step. On CPU a call is cheap, and what an operator returns for a number
        can depend on its position, and so on the other cells.
    weighted: which cells weight their pairs; None for none of them.

    groups: each objective with the number of its cells; order: (C,), the cells in that order.
    """

    def __init__(
        self,
        margin: Margin,
        losses: Sequence[Loss],
        device: torch.device,
        shared: bool,
        weighted: Sequence[bool] | None = None,
    ) -> None:
        alike: list[tuple[Loss, bool, list[int]]] = []
        flags = weighted or [False] * len(losses)
        for number, (loss, flag) in enumerate(zip(losses, flags, strict=True)):
            same = (which for other, own, which in alike if own == flag and _equal(other, loss))
            which = next(same, None) if shared else None
            if which is None:
                alike.append((loss, flag, which := []))
            which.append(number)
        self.groups = [(Objective(margin, loss), len(which)) for loss, _, which in alike]
        self._weighted = [flag for _, flag, _ in alike]
        order = [number for _, _, which in alike for number in which]
        self.order = torch.tensor(order).to(device)
        self._place = torch.argsort(self.order)

    def __call__(
        self,
        first: Tensor,
        second: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        probability: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The sum of all cells' reduced losses, to be differentiated, and each cell's weighted sum
        of losses over its pairs, (C,).

        first, second: rewards; label: y; weight, probability: of each pair (`Objective`); all
        (C, n).
        """
        reduced, values = self._losses(first, second, label, weight, probability)
        return reduced.sum(), values.sum(1)[self._place]

    def reduced(
        self,
        first: Tensor,
        second: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        probability: Tensor | None = None,
    ) -> Tensor:
        """Each cell's reduced loss, (C,)."""
        return self._losses(first, second, label, weight, probability)[0][self._place]

    def slopes(self, first: Tensor, second: Tensor, label: Tensor) -> Tensor:
        """|l'(z)| of every pair of each cell; (C, n)."""
        z = self.groups[0][0].z(first, second, label)
        slopes = [
            objective.slopes(part)
            for (objective, _), part in zip(self.groups, self._split(z), strict=True)
        ]
        return torch.cat(slopes).index_select(0, self._place)

    def _losses(
        self,
        first: Tensor,
        second: Tensor,
        label: Tensor,
        weight: Tensor | None,
        probability: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Reduced losses (C,), and the weighted loss of every pair (C, n), in `order`."""
        margin = self.groups[0][0]
        z = margin.z(first, second, label)
        opposite = None if probability is None else margin.z(first, second, -label)
        none = [None] * len(self.groups)
        columns = [
            none if one is None else self._split(one) for one in (opposite, probability, weight)
        ]
        values, reduced = [], []
        for (objective, _), weighted, own_z, other, p, w in zip(
            self.groups, self._weighted, self._split(z), *columns, strict=True
        ):
            used = w if weighted else None
            losses = objective.of_margins(own_z, other, p, used)
            reduced.append(objective.reduced(losses, used))
            values.append(losses.detach() if used is None else losses.detach() * used)
        return torch.cat(reduced), torch.cat(values)

    def _split(self, column: Tensor) -> Sequence[Tensor]:
        """A column of all cells, (C, n), by group."""
        return torch.split(column.index_select(0, self.order), [count for _, count in self.groups])


def stacked_column(cells: Sequence[np.ndarray | None], pairs: int) -> np.ndarray | None:
    """A column of the training pairs of every cell, (C, pairs), of ones if a cell lacks it; None if
    all do."""
    if all(column is None for column in cells):
        return None
    ones = np.ones(pairs)
    return np.stack([ones if column is None else column for column in cells])


def _equal(loss: Loss, other: Loss) -> bool:
    """Whether two losses are of one class, with equal parameters."""
    try:
        return loss is other or (type(loss) is type(other) and bool(vars(loss) == vars(other)))
    except Exception:  # parameters that cannot be compared, such as tensors
        return False
