"""The paragraphs about reward models of images."""

import pandas as pd

from experiments.authors_protocol import FINAL, WHOLE
from experiments.committed_results import Results, cells, holds, table

WHICH = ("last", "selected")
RATES = (0, 0.1, 0.2, 0.3, 0.4)


def images() -> str:
    """Reward models of images: MNIST by the paper's protocol, and digits."""
    mnist = Results("mnist_paper_grid", "test/order_accuracy")
    digits = Results("digits_accuracy_vs_noise", "test/order_accuracy")
    leads = [mnist.ends("truncated_hinge", "ramp", rate) for rate in RATES]
    clear = sum(low > 0 for _, low, _ in leads)
    values = {loss: mnist.value(loss, 0) for loss in ("logistic", "hinge", "square", "unhinged")}
    least = min(values, key=lambda loss: values[loss])
    clean = "also the lowest" if least == "unhinged" else f"where {least} is the lowest"
    at = {loss: mnist.value(loss, 0.4) for loss in (*values, "ramp", "sigmoid")}
    last = min(at, key=lambda loss: at[loss])
    place = "the lowest of all losses" if last == "unhinged" else f"where {last} is the lowest"
    unclear = [loss for loss in at if loss != last and not _apart(mnist, loss, last, 0.4)]
    if unclear:
        place += f" (not significantly below {' and '.join(unclear)})"
    holds(all(mnist.ends("ramp", "logistic", 0.4, which)[1] > 0 for which in WHICH), "ramp leads")
    holds(clear == len(RATES), "truncated hinge leads ramp at every rate")
    holds(at["unhinged"] < at["ramp"], "unhinged falls behind ramp")
    _, low, high = digits.ends("truncated_hinge", "ramp", 0.4)
    holds(low < 0 < high, "truncated hinge and ramp cannot be separated on digits")

    def memorised(loss: str) -> str:
        column = cells("mnist_paper_grid", "last/train/flipped_memorised", loss=loss, noise=0.4)
        return f"{100 * column.mean():.0f}%"

    gradients = table("mnist_gradients", "curves")
    first, last = gradients["epoch"].min(), gradients["epoch"].max()

    def shares(column: str, epoch: float) -> list[str]:
        means = gradients[gradients["epoch"] == epoch].groupby("loss")[f"train/{column}"].mean()
        return [f"{100 * means[loss]:.0f}%" for loss in ("truncated_hinge", "ramp", "logistic")]

    def listed(column: str, epoch: float) -> str:
        each = shares(column, epoch)
        return f"{', '.join(each[:-1])} and {each[-1]}"

    memorising = [shares("flipped_memorised", epoch) for epoch in (first, last)]
    grown = [f"from {before} to {after}" for before, after in zip(*memorising, strict=True)]

    return f"""
    **What came out.** The effect is there, it grows with training, and early stopping is a strong
    baseline. On MNIST at noise 0.4, after the paper's 100 epochs, ramp has a pairwise accuracy of
    {mnist.interval("ramp", 0.4)} on clean test pairs (95% interval over 5 seeds and the test
    images), sigmoid {mnist.interval("sigmoid", 0.4)} and logistic
    {mnist.interval("logistic", 0.4)}: ramp leads logistic by
    {mnist.lead("ramp", "logistic", 0.4)}, paired over seeds. At the epoch selected by noisy
    validation, ramp has {mnist.mean("ramp", 0.4, "selected")} and logistic
    {mnist.mean("logistic", 0.4, "selected")},
    {mnist.lead("ramp", "logistic", 0.4, "selected")} apart.

    Symmetry does not explain it. The truncated hinge, bounded but not symmetric, leads ramp with an
    interval above 0 at {clear} of {len(RATES)} rates, by
    {mnist.lead("truncated_hinge", "ramp", 0.4)} at noise 0.4. Unhinged, symmetric but unbounded,
    ends at {mnist.interval("unhinged", 0.4)} there, {place}, and at
    {mnist.interval("unhinged", 0)} on clean labels, {clean}; logistic has
    {mnist.mean("logistic", 0)} on clean labels. Losses that memorise fewer flips are more accurate:
    at noise 0.4 truncated hinge {memorised("truncated_hinge")}, ramp
    {memorised("ramp")}, sigmoid {memorised("sigmoid")}, logistic {memorised("logistic")}, unhinged
    {memorised("unhinged")}. On digits, five seeds do not separate truncated hinge
    ({digits.mean("truncated_hinge", 0.4)} at noise 0.4) from ramp ({digits.mean("ramp", 0.4)}):
    {digits.lead("truncated_hinge", "ramp", 0.4)}; logistic is at {digits.mean("logistic", 0.4)} and
    unhinged at {digits.mean("unhinged", 0.4)}.
    `differences.csv` has every pair of losses.

    **Why the truncated hinge leads ramp on MNIST**, measured at noise 0.4
    ([gradients](../results/mnist_gradients/), five seeds): it takes its gradient from fewer pairs.
    At epoch {first:g} {listed("no_gradient_flipped", first)} of the flipped training pairs have no
    gradient under the truncated hinge, ramp and logistic, in this order, and
    {listed("no_gradient_unflipped", first)} of the unflipped ones; at epoch {last:g}
    {listed("no_gradient_flipped", last)}, and {listed("no_gradient_unflipped", last)}. Pairs
    without gradient stay as they are, flipped ones too: between the two, the memorised share of the
    flipped pairs goes {grown[0]} under the truncated hinge, {grown[1]} under ramp and {grown[2]}
    under logistic."""


def _apart(results: Results, one: str, other: str, noise: float) -> bool:
    """Whether the interval of their difference excludes 0."""
    _, low, high = results.ends(one, other, noise)
    return low > 0 or high < 0


def flips() -> str:
    """Which pairs are flipped, and how many."""
    folder = "flip_detection"
    losses = sorted(table(folder, "cells")["loss"].unique())

    def means(column: str, noise: float) -> pd.Series:
        return pd.Series(
            {one: cells(folder, column, loss=one, noise=noise).mean() for one in losses}
        )

    def of(found: pd.Series) -> str:
        ends = [f"{end:.2f}" for end in (found.min(), found.max())]
        return ends[0] if ends[0] == ends[1] else " to ".join(ends)

    last = {noise: means("last/train/flip_auroc", noise) for noise in (0.1, 0.4)}
    chosen = {noise: means("selected/train/flip_auroc", noise) for noise in (0.1, 0.4)}
    rates = {noise: means("selected/validation/noise_estimate", noise) for noise in (0, 0.2, 0.4)}
    best, worst = str(last[0.4].idxmax()).replace("_", " "), last[0.4].idxmin()
    holds(best == "truncated hinge" and worst == "rdpo", "truncated hinge finds flips best at 0.4")
    holds(
        bool((chosen[0.4] > last[0.4]).all()), "every loss finds flips better at the selected epoch"
    )
    return f"""
    On digits (seven losses, five seeds), training pairs ranked by their margin put the flipped ones
    first with an AUROC of {of(chosen[0.1])} at noise 0.1 and {of(chosen[0.4])} at noise 0.4, at the
    epoch selected by noisy validation, whatever the loss. Memorising hides them: after the last
    epoch it is {of(last[0.4])} at noise 0.4, highest for the {best} and lowest for rDPO given the
    true rate and for logistic ({last[0.4]["logistic"]:.2f}; ramp {last[0.4]["ramp"]:.2f}, sigmoid
    {last[0.4]["sigmoid"]:.2f}). The noise rate estimated from validation margins, without a clean
    label, is {of(rates[0])} at noise 0, {of(rates[0.2])} at 0.2 and {of(rates[0.4])} at 0.4: a
    little too high, as the estimator must be while the model errs."""


def gpu_grid() -> str:
    """The paper's MNIST grid on a GPU, against the same code on a CPU and against today's grid."""
    keys = ["variant", "noise", "metric"]
    gpu = table("mnist_paper_grid_gpu", "summary")
    gpu = gpu[gpu["metric"] == "last/test/order_accuracy"]

    def against(folder: str, name: str) -> pd.DataFrame:
        rows = gpu.merge(table(folder, name), on=keys, suffixes=("", "_cpu"), validate="1:1")
        apart = (rows["high"] < rows["low_cpu"]) | (rows["high_cpu"] < rows["low"])
        return rows.assign(points=100 * (rows["mean"] - rows["mean_cpu"]).abs(), apart=apart)

    same = against("mnist_paper_grid_gpu", "cpu_summary")
    now = against("mnist_paper_grid", "summary")
    holds(len(same) == len(now) == 35, "the grids have the same 35 points")
    holds(not same["apart"].any(), "every interval of the GPU overlaps that of the CPU")
    worst, others = now[now["apart"]], now[~now["apart"]]
    holds(set(worst["variant"]) == {"unhinged"}, "only unhinged differs without the clamp")
    return f"""
    The [accuracies](../results/mnist_paper_grid_gpu/) are those of a CPU: at all {len(same)} points
    (7 losses, 5 rates, last epoch) the 95% intervals overlap, and the means differ by
    {same["points"].mean():.1f} points on average and {same["points"].max():.1f} at most. Rewards
    were clamped at 20 then, on both devices (`cpu_summary.csv` is the CPU's summary of that time).
    Today's [grid](../results/mnist_paper_grid/) has no clamp, which matters to unhinged alone: it
    differs at {len(worst)} points, by up to {worst["points"].max():.1f} points; at the other
    {len(others)} the intervals overlap."""


def authors() -> str:
    """The authors' script and ours with every fault, as in `experiments.authors_protocol`."""
    found = table("authors_protocol", "agreement")

    def each(metric: str) -> str:
        return "; ".join(
            f"{row['loss']} {row['authors_mean']:.1%} and {row['ours_mean']:.1%}, "
            f"{100 * row['difference']:+.1f} points "
            f"({100 * row['low']:.1f} to {100 * row['high']:.1f})"
            for row in found[found["metric"] == metric].to_dict("records")
        )

    whole = found[found["metric"] == WHOLE]
    holds(bool((whole["outcome"] == "agree").all()), "both agree over all test pairs")
    apart = found.loc[found["outcome"] == "differ", ["loss", "metric"]].to_numpy().tolist()
    holds(apart == [["ramp", FINAL]], "ramp alone differs, on the last batch")
    return f"""
    With {found["seeds"].min()} seeds, on a CPU, accuracy over all 1,000 test pairs, at the last
    evaluation before the end, is by their script and by ours: {each(WHOLE)}. Each agrees within the
    spread of seeds. The number that their script reports, of the last batch of test pairs:
    {each(FINAL)}. Here ramp's interval excludes 0, by little; among {len(found)} intervals one
    such is not rare by chance."""
