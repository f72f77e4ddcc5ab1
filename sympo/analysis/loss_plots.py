"""The figure of losses against the margin."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from sympo.analysis.canvas import DRAWN, caption, legend, line_of, panels
from sympo.analysis.style import ordered, styles


@mpl.rc_context(DRAWN)
def loss_gallery(curves: pd.DataFrame) -> Figure:
    """Losses l(z) against the margin z, and l(z) + l(-z), which is constant for symmetric losses.

    curves: columns loss, z, value = l(z), sum = l(z) + l(-z).
    """
    figure, axes = panels(1, 2, width=4.3, height=3.9)
    for place, (loss, look) in enumerate(styles(curves["loss"]).items()):
        rows = curves[curves["loss"] == loss].sort_values("z")
        axes[0].plot(rows["z"], rows["value"], **line_of(look))
        # symmetric sums can coincide (sigmoid and ramp both give 1), so earlier lines are wider
        width = max(5.0 - 2.2 * place, 1.6) if look.family else 1.6
        axes[1].plot(rows["z"], rows["sum"], **line_of(look), linewidth=width)
    axes[0].set(title="Loss  $\\ell(z)$", ylabel="Loss", ylim=(-2.2, 5.2))
    axes[1].set(title="$\\ell(z)+\\ell(-z)$: flat = symmetric", ylim=(0, 6.2))
    for ax in axes:
        ax.set_xlabel("Margin  $z$")
    legend(figure, curves.rename(columns={"loss": "variant"}), marked=False)
    spread = curves.groupby("loss")["sum"].agg(lambda total: total.max() - total.min())
    flat = ", ".join(ordered(spread.index[spread < 1e-4])) or "none"
    figure.suptitle("Losses of a margin and the test of symmetry")
    caption(
        figure,
        f"Symmetric, $\\ell(z)+\\ell(-z)=K$ for every z: {flat}. "
        "Curves that leave a panel are cut off.",
    )
    return figure
