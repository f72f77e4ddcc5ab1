"""Writes the paragraphs of README.md and docs/ whose numbers are those of the committed results.

    python -m experiments.readme

A paragraph is between `<!-- numbers: NAME -->` and `<!-- end -->`, on any page; NAME is a function
below. A test compares the pages with what this writes. The results page is written by
`python -m experiments.results_page`.
"""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from scipy.stats import ttest_1samp

from experiments.authors_protocol import FINAL, WHOLE
from experiments.committed_results import ROOT, Results, cells, span, table

BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _holds(claim: bool, what: str) -> None:
    """A sentence that the results no longer support has to be rewritten by hand."""
    if not claim:
        raise ValueError(f"the committed results no longer say that {what}")


def pages() -> list[Path]:
    """The pages that may hold paragraphs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """A page with its paragraphs rewritten."""
    return BLOCK.sub(
        lambda found: f"{found[1]}{_wrapped(PARAGRAPHS[found[2]]())}\n{found[3]}", text
    )


def _wrapped(paragraph: str) -> str:
    return "\n\n".join(
        textwrap.fill(" ".join(part.split()), 100, break_on_hyphens=False, break_long_words=False)
        for part in paragraph.split("\n\n")
    )


def main() -> None:
    for page in pages():
        page.write_text(filled(page.read_text()))


WHICH = ("last", "selected")
JUDGE = "reward_model"
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
    _holds(all(mnist.ends("ramp", "logistic", 0.4, which)[1] > 0 for which in WHICH), "ramp leads")
    _holds(clear == len(RATES), "truncated hinge leads ramp at every rate")
    _holds(at["unhinged"] < at["ramp"], "unhinged falls behind ramp")
    _, low, high = digits.ends("truncated_hinge", "ramp", 0.4)
    _holds(low < 0 < high, "truncated hinge and ramp cannot be separated on digits")

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


def text_rewards() -> str:
    """Reward models of real texts under injected noise."""
    ultra, hh = "ultrafeedback_reward_accuracy", "hh_reward_accuracy"
    pairs = pd.concat([table(folder, "differences") for folder in (ultra, hh)])
    pairs = pairs[pairs["metric"] == "last/test/label_accuracy"]
    apart = int(((pairs["low"] > 0) | (pairs["high"] < 0)).sum())
    # about 1 in 20 intervals would exclude 0 by chance
    _holds(apart < 0.05 * len(pairs), "no loss is measurably more robust")

    def accuracy(folder: str, model: str) -> str:
        column = "last/test/label_accuracy"
        means = [cells(folder, column, model=model, noise=rate).mean() for rate in (0, 0.2, 0.4)]
        return "{:.0f}, {:.0f} and {:.0f}%".format(*(100 * mean for mean in means))

    def memorised(folder: str, model: str) -> str:
        return span(
            table(folder, "cells")
            .query(f"model == '{model}' and noise == 0.4")
            .groupby("loss")["last/train/flipped_memorised"]
            .mean()
        )

    return f"""
    On the available real rows (1,121 training pairs of HH's harmless-base, 2,047 of UltraFeedback,
    five seeds, models trained from scratch), injected noise costs accuracy, and no loss is
    measurably more robust than another (of {len(pairs)} intervals of differences between losses,
    {apart} excludes 0): tf-idf agrees with {accuracy(ultra, "tfidf")} of UltraFeedback's released
    test labels at noise 0, 0.2 and 0.4, and with {accuracy(hh, "tfidf")} of HH's; the small
    transformers with {accuracy(ultra, "tiny_reward")} and {accuracy(hh, "tiny_reward")}. They
    do memorise the flips: at noise 0.4 tf-idf ends with {memorised(hh, "tfidf")} (HH) and
    {memorised(ultra, "tfidf")} (UltraFeedback) of the flipped training pairs memorised under every
    loss, the transformers with {memorised(hh, "tiny_reward")} and
    {memorised(ultra, "tiny_reward")}. With 1,100 to 2,000 pairs and as many features or weights, a
    bounded loss memorises as well as an unbounded one. The labels are themselves noisy, so 100% is
    out of reach."""


def policies() -> str:
    """Policies of the embedded language."""
    win = Results("gold_language_win_rate", "policy/win_rate")
    losses = ["sigmoid", "ramp", "hinge", "ropo", "rdpo (oracle)", "logistic", "cdpo (oracle)"]
    clean = [win.value(loss, 0) for loss in losses]

    def near(names: list[str], noise: float) -> str:
        values = sorted(win.value(name, noise) for name in names)
        return f"{values[0]:.0f} to {values[-1]:.0f}%"

    chosen = {noise: win.lead("ramp", "logistic", noise, "selected") for noise in (0.3, 0.4)}
    ends = [win.ends("ramp", "logistic", noise, "selected") for noise in (0.3, 0.4)]
    _holds(all(low < 0 < high for _, low, high in ends), "no lead at the selected epoch")
    gains = {loss: win.value(loss, 0.1) - win.value(loss, 0) for loss in losses}
    more = [loss for loss in losses if _gained(win.folder, loss.split()[0])]
    _holds(not more, "no loss wins significantly more at noise 0.1 than without noise")
    curves = table(win.folder, "curves").groupby(["loss", "noise", "epoch"])["policy/win_rate"]
    by_epoch = curves.mean().unstack("epoch")
    lost = 100 * (by_epoch.max(axis=1) - by_epoch.iloc[:, -1]).max()
    return f"""
    **Policies**, on the embedded language (five seeds, win rate over the fine-tuned reference by
    the true reward, last epoch). Without noise all losses win {min(clean):.0f} to
    {max(clean):.0f}%; at noise 0.1 the change is {min(gains.values()):.1f} to
    {max(gains.values()):.1f} points (no gain is significant). At noise 0.3 sigmoid, ramp, hinge and
    ROPO win {near(losses[:4], 0.3)}, rDPO given the true rate
    {win.mean("rdpo (oracle)", 0.3, digits=0)}, logistic (DPO)
    {win.mean("logistic", 0.3, digits=0)} and cDPO given the true rate
    {win.mean("cdpo (oracle)", 0.3, digits=0)}; at 0.4 {near(losses[:4], 0.4)},
    {win.mean("rdpo (oracle)", 0.4, digits=0)}, {win.mean("logistic", 0.4, digits=0)} and
    {win.mean("cdpo (oracle)", 0.4, digits=0)}. Ramp leads logistic by
    {win.lead("ramp", "logistic", 0.3)} at 0.3, paired over seeds, and by
    {win.lead("ramp", "logistic", 0.4)} at 0.4. At the epoch selected by noisy validation, the
    lead is not significant: {chosen[0.3]} and {chosen[0.4]}. No loss loses more than {lost:.1f}
    points after its best epoch, at any noise rate."""


def early_stopping() -> str:
    """How many noisy validation pairs select an epoch of a policy."""
    folder, losses, pairs = (
        "early_stopping_policies",
        ("logistic", "ramp"),
        "dataset.validation_pairs",
    )

    def mean(column: str, loss: str, size: int, noise: float) -> float:
        return 100 * cells(folder, column, loss=loss, noise=noise, **{pairs: size}).mean()

    def both(column: str, size: int, noise: float) -> str:
        return " and ".join(f"{mean(column, loss, size, noise):.1f}%" for loss in losses)

    def lost(loss: str, size: int, noise: float) -> float:
        ends = (
            mean(f"{which}/policy/win_rate", loss, size, noise) for which in ("last", "selected")
        )
        return next(ends) - next(ends)

    sizes = sorted(table(folder, "cells")[pairs].unique())
    most = sizes[-1]
    enough = [max(lost(loss, size, 0.2) for loss in losses) for size in sizes if size >= 1000]
    never = [lost(loss, size, 0.4) for loss in losses for size in sizes]
    clean = "validation/clean_accuracy"
    higher = [mean(f"selected/{clean}", loss, most, 0.4) - mean(f"last/{clean}", loss, most, 0.4)
              for loss in losses]  # fmt: skip
    epochs = table(folder, "cells").query("noise == 0.4 and `dataset.validation_pairs` == @most")
    _holds(max(enough) < 1, "1,000 pairs lose less than a point at noise 0.2")
    _holds(min(never) > 1, "no size finds the last epoch's wins at noise 0.4")
    _holds(min(higher) > 0, "the selected epoch is more accurate than the last")
    return f"""
    **How many noisy validation pairs select an epoch of a policy?** At noise 0.2, 1,000: the epoch
    that they select wins within {max(enough):.1f} points of the last one, whatever the loss. At
    noise 0.4, none of {sizes[0]:,} to {most:,}. With {most:,} pairs logistic and ramp win
    {both("selected/policy/win_rate", most, 0.4)} at the selected epoch and
    {both("last/policy/win_rate", most, 0.4)} at the last. More pairs would not help: at the
    selected epoch, the median of which is {epochs["selected/epoch"].median():g} of
    {epochs["last/epoch"].max():g}, policies do agree with more of the
    validation labels as they were before the flips, {both(f"selected/{clean}", most, 0.4)} against
    {both(f"last/{clean}", most, 0.4)} at the last. Accuracy on given pairs peaks early, while the
    wins of the policy's own responses go on rising
    ([early stopping](../results/early_stopping_policies/), five seeds; test prompts differ between
    sizes, since those of validation pairs are left out)."""


def _gained(folder: str, loss: str) -> bool:
    """Whether a loss wins more at noise 0.1 than at 0, by a paired t test at 5%."""
    wins = cells(folder, "last/policy/win_rate", loss=loss, noise=0.1).to_numpy()
    gain = wins - cells(folder, "last/policy/win_rate", loss=loss, noise=0).to_numpy()
    return bool(ttest_1samp(gain, 0).pvalue < 0.05)


def judges() -> str:
    """Two judges of the same policies."""
    folder, names = "gold_language_win_rate", ("reward_model", "gold")
    by_judge = [Results(folder, f"judge/{name}/win_rate") for name in names]
    agreed = table(folder, "agreement")
    row = agreed[(agreed["which"] == "last") & (agreed["against"] == "reference")].iloc[0]
    rows = table(folder, "summary").set_index("metric")
    wins = [rows.loc[f"last/judge/{name}/win_rate"] for name in names]
    values = [one.set_index(["variant", "noise"])["mean"] for one in wins]
    apart = 100 * (values[0] - values[1]).abs().max()

    def both(loss: str) -> str:
        mine, theirs = (one.value(loss, 0.4) for one in by_judge)
        return f"{loss} {mine:.1f} against {theirs:.1f}%"

    return f"""
    As a judge of the {row["cells"]} policies above, a reward model trained on 20,000 clean pairs
    agrees with the true reward on {100 * row["agreement"]:.1f}% of {row["n"]:,} responses (kappa
    {row["kappa"]:.2f}, interval {row["kappa_low"]:.2f} to {row["kappa_high"]:.2f}) and gives every
    loss at every noise rate a win rate within {apart:.1f} points of the true one: at noise 0.4
    {both("ramp")}, {both("logistic")}. Neither can prefer a position, so both protocols give the
    same numbers."""


def pretrained() -> str:
    """Policies of SmolLM2 on HH, and the judge that compares them."""
    folder = "smollm2_hh"

    def both(column: str, noise: float) -> str:
        losses = ("logistic", "ramp")
        means = [cells(folder, column, loss=loss, noise=noise).mean() for loss in losses]
        return "logistic {:.1f}% and ramp {:.1f}%".format(*(100 * mean for mean in means))

    implicit = "last/test/implicit_accuracy"
    wins = f"last/judge/{JUDGE} (against=reference)/win_rate"
    tfidf = 100 * cells(folder, "last/baseline/tfidf/label_accuracy").mean()
    margin = cells(folder, "last/train/margin_unflipped").abs().max()
    rows = table(folder, "differences")
    rows = rows[rows["metric"].str.startswith("last/")]
    _holds(not ((rows["low"] > 0) | (rows["high"] < 0)).any(), "no loss of SmolLM2 is better")
    labels = table(folder, f"label_agreement-{JUDGE}")
    by_length = labels[labels["by"] == "length"]
    whole, shorter, longer = labels.iloc[0], by_length.iloc[0], by_length.iloc[-1]
    judges = table(folder, "label_agreement_of_both_judges")
    smollm2, minilm = (
        judges[judges["model"] == f"{model}_reward"].iloc[0] for model in ("smollm2", "minilm")
    )
    _holds(
        bool(smollm2["agreement_low"] < minilm["agreement"] < smollm2["agreement_high"]),
        "SmolLM2 and MiniLM are about as good as judges",
    )

    def share(row: pd.Series, name: str, digits: int = 0) -> str:
        return f"{100 * row[name]:.{digits}f}"

    return f"""
    SmolLM2 with LoRA, trained for 16 steps on 256 pairs of HH's harmless-base (two losses, two
    rates, two seeds: the size that two CPU cores finish). Implicit accuracy: {both(implicit, 0)}
    without noise (tf-idf {tfidf:.1f}%), {both(implicit, 0.4)} at noise 0.4. Win rate over the
    reference by a reward model: {both(wins, 0)}, {both(wins, 0.4)}. No difference between the
    losses is significant, and none can be expected yet: after 16 steps training margins are below
    {margin:.2f}, where both losses have almost the same slope.

    The judge is MiniLM, trained on the judge's part of the rows, whose conversations no policy
    sees. It agrees with {share(whole, "agreement", 1)}% ({share(whole, "agreement_low", 1)} to
    {share(whole, "agreement_high", 1)}) of {whole["pairs"]:,} held-out human labels, and prefers
    the longer response in only {share(whole, "prefers_longer")}% of them, though people chose it in
    {share(whole, "longer_chosen")}%: where the chosen response is much shorter it agrees with
    {share(shorter, "agreement")}%, where it is much longer with {share(longer, "agreement")}%. With
    1,024 prompts, such a judge can resolve differences in true win rate of
    {share(whole, "resolves_1024")} points or more. SmolLM2, trained for one epoch on the same part,
    is about as good: on the first {smollm2["pairs"]} of these labels it agrees with
    {share(smollm2, "agreement", 1)}% ({share(smollm2, "agreement_low", 1)} to
    {share(smollm2, "agreement_high", 1)}), MiniLM with {share(minilm, "agreement", 1)}%
    ({share(minilm, "agreement_low", 1)} to {share(minilm, "agreement_high", 1)})."""


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
    _holds(best == "truncated hinge" and worst == "rdpo", "truncated hinge finds flips best at 0.4")
    _holds(
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


def betas() -> str:
    """Whether ramp is more than a smaller beta."""
    by_beta = {
        beta: Results("gold_language_beta", "policy/win_rate", **{"job.margin.beta": beta})
        for beta in sorted(table("gold_language_beta", "summary")["job.margin.beta"].unique())
    }
    leads = [
        (win.ends("ramp", "logistic", noise), beta, noise)
        for beta, win in by_beta.items()
        for noise in (0.3, 0.4)
    ]
    ahead = sum(ends[0] > 0 for ends, _, _ in leads)
    clear = sum(ends[1] > 0 for ends, _, _ in leads)

    def row(loss: str, noise: float) -> str:
        return ", ".join(
            f"{win.value(loss, noise):.0f}% at beta {beta:g}" for beta, win in by_beta.items()
        )

    def best(loss: str, noise: float) -> str:
        beta = max(by_beta, key=lambda beta: by_beta[beta].value(loss, noise))
        return f"{by_beta[beta].mean(loss, noise)} (beta {beta:g})"

    margins = cells("gold_language_win_rate", "last/test/margin_mean")
    stuck = cells("gold_language_beta", "last/policy/kl", loss="truncated_hinge")
    _holds(bool((stuck.abs() < 1e-6).all()), "the truncated hinge never leaves the reference")
    claims = table("gold_language_beta", "claims")
    matched = claims[claims["claim"].str.contains("whose KL is closest")]
    _holds(bool((matched["outcome"] == "supported").all()), "losses win as often at matched KL")
    apart = 100 * matched["difference"].abs().max()
    return f"""
    Symmetry does not explain it: hinge does as well, and it is convex, unbounded and not
    symmetric. At beta 0.1 margins are small ({margins.min():.3f} to {margins.max():.2f} on average
    over test pairs), and for |z| < 1 hinge and ramp are the same line up to a factor: hinge's
    training loss is twice ramp's to within 2%. Plotted against KL, losses follow one
    curve; they differ in how far along it they get. At the beta whose KL is closest to 2 nats ramp
    wins as often as logistic, and at 3.2 nats (noise 0.4) sigmoid and hinge do: differences are at
    most {apart:.1f} points, and equivalence within 3 points is shown for each. A smaller beta moves
    the policy further: at
    noise 0.3 logistic wins {row("logistic", 0.3)}, and ramp {row("ramp", 0.3)}; at 0.4 logistic
    {row("logistic", 0.4)}, and ramp {row("ramp", 0.4)}. At equal beta ramp leads
    in {ahead} of {len(leads)} comparisons, in {clear} of them with an interval above 0
    ([betas](../results/gold_language_beta/), five seeds). At the smallest beta the lead is
    {by_beta[min(by_beta)].lead("ramp", "logistic", 0.3)} at 0.3 and
    {by_beta[min(by_beta)].lead("ramp", "logistic", 0.4)} at 0.4: tuning beta gives logistic most of
    the gain. Each at its best beta of these, logistic wins {best("logistic", 0.3)} and ramp
    {best("ramp", 0.3)} at 0.3, and {best("logistic", 0.4)} and {best("ramp", 0.4)} at 0.4.
    The truncated hinge has no gradient at margin 0, where every policy begins: at no beta does it
    leave the reference."""


def estimates() -> str:
    """The time that dry runs estimate against the time taken."""
    rows = pd.read_csv(ROOT / "results" / "benchmarks" / "estimates.csv")
    _holds(bool(rows["ratio"].between(1 / 1.5, 1.5).all()), "estimates are within a factor of 1.5")
    each = [
        f"{row.sweep} {row.seconds:g} s for an estimate of {row.estimated_seconds:g} s"
        for row in rows.itertuples()
    ]
    return f"""
    On two cores, {", ".join(each[:-1])}, and {each[-1]}: {rows["ratio"].min():g} to
    {rows["ratio"].max():g} times the estimate. A load that changes meanwhile, which a dry run
    cannot know, makes it worse."""


def paper_small() -> str:
    """How long the small sizes of all experiments take."""
    rows = pd.read_csv(ROOT / "results" / "benchmarks" / "paper_small.csv")
    _holds(rows["seconds"].sum() < 75 * 60, "all of them take less than 75 minutes")
    _holds(bool((rows["seconds"] < 300).all()), "each takes less than five minutes")
    longest = rows.nlargest(1, "seconds").iloc[0]
    return f"""
    The small sizes of {len(rows)} experiments take {rows["seconds"].sum() / 60:.0f} minutes on
    {rows["cores"].iloc[0]} cores ([CSV](../results/benchmarks/paper_small.csv), by
    `python -m experiments.benchmarks.paper_small --data FOLDER`), half of them less than
    {rows["seconds"].median():.0f} s each; `{longest["experiment"]}` takes longest,
    {longest["seconds"]:.0f} s."""


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
    _holds(len(same) == len(now) == 35, "the grids have the same 35 points")
    _holds(not same["apart"].any(), "every interval of the GPU overlaps that of the CPU")
    worst, others = now[now["apart"]], now[~now["apart"]]
    _holds(set(worst["variant"]) == {"unhinged"}, "only unhinged differs without the clamp")
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
    _holds(bool((whole["outcome"] == "agree").all()), "both agree over all test pairs")
    apart = found.loc[found["outcome"] == "differ", ["loss", "metric"]].to_numpy().tolist()
    _holds(apart == [["ramp", FINAL]], "ramp alone differs, on the last batch")
    return f"""
    With {found["seeds"].min()} seeds, on a CPU, accuracy over all 1,000 test pairs, at the last
    evaluation before the end, is by their script and by ours: {each(WHOLE)}. Each agrees within the
    spread of seeds. The number that their script reports, of the last batch of test pairs:
    {each(FINAL)}. Here ramp's interval excludes 0, by little; among {len(found)} intervals one
    such is not rare by chance."""


_MADE = (
    images, text_rewards, policies, early_stopping, pretrained, betas, judges, flips, estimates,
    paper_small, gpu_grid, authors,
)  # fmt: skip
PARAGRAPHS: dict[str, Callable[[], str]] = {made.__name__: made for made in _MADE}

if __name__ == "__main__":
    main()
