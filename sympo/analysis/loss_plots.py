"""Figures of losses against the margin, and of the margins that minimise them."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sympo.analysis.canvas import DRAWN, caption, line_of, panels
from sympo.analysis.style import LossStyle, ordered, styles

# what a panel shows of losses that go far beyond
VALUE_LIMITS, SUM_LIMITS = (-2.2, 5.2), (-2.2, 6.2)


@mpl.rc_context(DRAWN)
def loss_gallery(curves: pd.DataFrame) -> Figure:
    """Losses l(z) against the margin z, and l(z) + l(-z), which is constant for symmetric losses.

    curves: columns loss, z, value = l(z), sum = l(z) + l(-z), and, if losses are to be drawn in
    several rows of panels, group, the title of the row.
    """
    groups = list(dict.fromkeys(curves["group"])) if "group" in curves else [""]
    figure = Figure(figsize=(10.9, 2.6 * len(groups) + 1.6), layout="constrained")
    axes = figure.subplots(len(groups), 2, sharex=True, squeeze=False)
    for row, group in zip(axes, groups, strict=True):
        _losses(row[0], row[1], curves[curves["group"] == group] if group else curves)
        row[0].set_ylabel(group or "Loss")
    axes[0, 0].set_title("Loss  $\\ell(z)$")
    axes[0, 1].set_title("$\\ell(z)+\\ell(-z)$: flat = symmetric")
    for ax in axes[-1]:
        ax.set_xlabel("Margin  $z$")
    spread = curves.groupby("loss")["sum"].agg(lambda total: total.max() - total.min())
    flat = ", ".join(ordered(spread.index[spread < 1e-4])) or "none"
    figure.suptitle("Losses of a margin and the test of symmetry")
    caption(
        figure,
        f"Symmetric, $\\ell(z)+\\ell(-z)=K$ for every z: {flat}. "
        "Curves that leave a panel are cut off; wide lines lie under others at the same place.",
    )
    return figure


def _losses(left: Axes, right: Axes, curves: pd.DataFrame) -> None:
    looks = _shaded(styles(curves["loss"]))
    for ax, column, limits in ((left, "value", VALUE_LIMITS), (right, "sum", SUM_LIMITS)):
        table = curves.pivot(index="z", columns="loss", values=column)[list(looks)]
        for place, (loss, look) in enumerate(looks.items()):
            # wider under each later curve that coincides with it
            later = table.iloc[:, place + 1 :].sub(table[loss], axis=0).abs().max()
            ax.plot(table[loss], **line_of(look), linewidth=1.6 + 1.5 * (later < 1e-6).sum())
        low, high = max(table.min().min(), limits[0]), min(table.max().max(), limits[1])
        room = 0.06 * max(high - low, 1)
        ax.set_ylim(low - room, high + room)
    right.legend(
        [Line2D([], [], **line_of(look)) for look in looks.values()],
        list(looks),
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        handlelength=3.2,
    )


def _shaded(looks: dict[str, LossStyle]) -> dict[str, LossStyle]:
    """Variants of one loss, which share its colour, in shades of it from dark to light."""
    shaded = {}
    for loss, look in looks.items():
        alike = [name for name, other in looks.items() if other.color == look.color]
        color = _shade(look.color, alike.index(loss), len(alike))
        shaded[loss] = replace(look, color=color, line=looks[alike[0]].line)
    return shaded


def _shade(color: str, place: int, of: int) -> str:
    """The colour itself if it is alone."""
    if of == 1:
        return color
    rgb = np.array(to_rgb(color))
    darkness = 0.45 - 1.05 * place / (of - 1)
    mixed = rgb * (1 - darkness) if darkness > 0 else rgb - darkness * (1 - rgb)
    return to_hex(tuple(mixed))


@mpl.rc_context(DRAWN)
def conditional_minimiser_plot(minimisers: pd.DataFrame) -> Figure:
    """The margins that minimise the conditional risk, against eta = P(y = +1).

    minimisers: columns loss, eta, least and greatest, the least and the greatest minimiser. Losses
    whose minimisers depend on eta only through the sign of 2 eta - 1 are drawn on the right.
    """
    figure, axes = panels(1, 2, width=4.3, height=3.6)
    reach = minimisers["greatest"].max()
    for loss, look in styles(minimisers["loss"]).items():
        rows = minimisers[minimisers["loss"] == loss].sort_values("eta")
        side = np.sign((rows["eta"] - 0.5).round(9))
        sides = [rows[side < 0], rows[side > 0]]
        signs_only = all(_constant(rows) for rows in sides)
        eta, nearest = rows["eta"], rows["least"]
        if signs_only:
            eta = pd.Series([eta.min(), 0.5, 0.5, eta.max()])
            nearest = pd.Series(np.repeat([sides[0]["greatest"].max(), sides[1]["least"].min()], 2))
        ax = axes[int(signs_only)]
        ax.plot(eta, nearest, **line_of(look), linewidth=2.2, label=loss)
        for rows in sides:
            band = ax.fill_between(rows["eta"], rows["least"], rows["greatest"], linewidth=0)
            band.set(color=look.color, alpha=0.15)
    axes[0].set(title="CPE: $\\eta$ can be read off the minimiser", ylabel="Minimising margin  $z$")
    axes[1].set(title="Symmetric: only the sign of $2\\eta-1$ is left")
    for ax in axes:
        ax.set(ylim=(-1.12 * reach, 1.12 * reach), xlabel="$\\eta=P(y=+1)$")
        ax.set_yticks([-reach, -reach / 2, 0, reach / 2, reach])
        ax.set_yticklabels(["$-\\infty$", f"{-reach / 2:g}", "0", f"{reach / 2:g}", "$\\infty$"])
        ax.legend(loc="upper left", frameon=False)
    figure.suptitle("No symmetric loss estimates probabilities")
    caption(
        figure,
        "Minimisers of $\\eta\\,\\ell(z)+(1-\\eta)\\,\\ell(-z)$. With $\\ell(z)+\\ell(-z)=K$ "
        "this is $(2\\eta-1)\\,\\ell(z)+(1-\\eta)K$: all $\\eta>1/2$ share their minimisers, "
        "as do all $\\eta<1/2$. Band: every margin in it is a minimiser.",
    )
    return figure


def _constant(rows: pd.DataFrame) -> bool:
    return bool((np.ptp(rows[["least", "greatest"]].to_numpy(), axis=0) < 1e-9).all())
