"""The losses of stacked cells, each cell with its own."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sympo.objective import Objective
from sympo.protocols.models import Loss, Margin


class StackedObjective:
    """One margin for all cells and a loss for each; the gradient of a cell is its own.

    shared: whether cells with equal losses share a call. On a GPU they should: hundreds of calls
        would take most of a step. On CPU a call is cheap, and what an operator returns for a number
        can depend on its position, and so on the other cells.

    groups: each objective with the number of its cells; order: (C,), the cells in that order.
    """

    def __init__(
        self, margin: Margin, losses: Sequence[Loss], device: torch.device, shared: bool
    ) -> None:
        alike: list[tuple[Loss, list[int]]] = []
        for number, loss in enumerate(losses):
            same = (which for other, which in alike if _equal(other, loss))
            which = next(same, None) if shared else None
            if which is None:
                alike.append((loss, which := []))
            which.append(number)
        self.groups = [(Objective(margin, loss), len(which)) for loss, which in alike]
        order = [number for _, which in alike for number in which]
        self.order = torch.tensor(order).to(device)
        self._place = torch.argsort(self.order)

    def __call__(self, first: Tensor, second: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of all cells' reduced losses, to be differentiated, and each cell's sum of losses
        over its pairs, (C,).

        first, second: rewards; label: y; all (C, n).
        """
        reduced, values = self._losses(first, second, label)
        return reduced.sum(), values.sum(1)[self._place]

    def reduced(self, first: Tensor, second: Tensor, label: Tensor) -> Tensor:
        """Each cell's reduced loss, (C,)."""
        return self._losses(first, second, label)[0][self._place]

    def slopes(self, first: Tensor, second: Tensor, label: Tensor) -> Tensor:
        """|l'(z)| of every pair of each cell; (C, n)."""
        z = self.groups[0][0].z(first, second, label)
        parts = torch.split(z.index_select(0, self.order), [count for _, count in self.groups])
        slopes = [
            objective.slopes(part) for (objective, _), part in zip(self.groups, parts, strict=True)
        ]
        return torch.cat(slopes).index_select(0, self._place)

    def _losses(self, first: Tensor, second: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Reduced losses (C,), and the loss of every pair (C, n), in `order`."""
        z = self.groups[0][0].z(first, second, label)
        parts = torch.split(z.index_select(0, self.order), [count for _, count in self.groups])
        values, reduced = [], []
        for (objective, _), part in zip(self.groups, parts, strict=True):
            losses = objective.losses(part)
            reduced.append(objective.reduced(losses))
            values.append(losses.detach())
        return torch.cat(reduced), torch.cat(values)


def _equal(loss: Loss, other: Loss) -> bool:
    """Whether two losses are of one class, with equal parameters."""
    try:
        return loss is other or (type(loss) is type(other) and bool(vars(loss) == vars(other)))
    except Exception:  # parameters that cannot be compared, such as tensors
        return False
