"""Which panel a loss is drawn in, and what can be seen of curves that coincide."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from sympo.analysis import conditional_minimiser_plot, loss_gallery

Z = np.linspace(-4, 4, 81)


def curves(loss: str, value: np.ndarray, group: str) -> pd.DataFrame:
    return pd.DataFrame({"loss": loss, "z": Z, "value": value, "sum": value + value[::-1]}).assign(
        group=group
    )


def labels(ax: Axes) -> set[str]:
    return {str(line.get_label()) for line in ax.lines}


def test_each_group_has_a_row_and_lines_below_others_are_wider() -> None:
    sigmoid, ramp = 1 / (1 + np.exp(Z)), np.clip((1 - Z) / 2, 0, 1)
    logistic = np.logaddexp(0, -Z)
    figure = loss_gallery(
        pd.concat(
            [
                curves("sigmoid", sigmoid, "symmetric"),
                curves("ramp", ramp, "symmetric"),
                curves("logistic", logistic, "other"),
            ]
        )
    )
    value, total, _, _ = figure.axes
    assert [len(ax.lines) for ax in figure.axes] == [2, 2, 1, 1]
    # only the sums coincide
    assert value.lines[0].get_linewidth() == value.lines[1].get_linewidth()
    assert total.lines[0].get_linewidth() > total.lines[1].get_linewidth()


@pytest.mark.parametrize("rounded", [True, False])
def test_losses_that_know_signs_only_are_drawn_apart(rounded: bool) -> None:
    eta = np.linspace(0.05, 0.95, 19)  # its middle is below 0.5 by rounding
    eta = eta.round(2) if rounded else eta
    sign = np.sign((eta - 0.5).round(9))
    everywhere = np.where(sign == 0, [[-4], [4]], 0)
    of_ramp = np.where(sign < 0, [[-4], [-1]], [[1], [4]]) * np.abs(sign) + everywhere
    tables = {"ramp": of_ramp, "square": np.stack([2 * eta - 1] * 2)}
    figure = conditional_minimiser_plot(
        pd.concat(
            pd.DataFrame({"loss": loss, "eta": eta, "least": least, "greatest": greatest})
            for loss, (least, greatest) in tables.items()
        )
    )
    cpe, symmetric = figure.axes
    assert (labels(cpe), labels(symmetric)) == ({"square"}, {"ramp"})
    step = np.asarray(symmetric.lines[0].get_xydata())
    np.testing.assert_allclose(step, [[0.05, -1], [0.5, -1], [0.5, 1], [0.95, 1]])
