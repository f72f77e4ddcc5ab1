"""The paragraphs about policies of the embedded language and their judges."""

from scipy.stats import ttest_1samp

from experiments.committed_results import Results, cells, holds, table


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
    holds(all(low < 0 < high for _, low, high in ends), "no lead at the selected epoch")
    gains = {loss: win.value(loss, 0.1) - win.value(loss, 0) for loss in losses}
    more = [loss for loss in losses if _gained(win.folder, loss.split()[0])]
    holds(not more, "no loss wins significantly more at noise 0.1 than without noise")
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
        last = mean("last/policy/win_rate", loss, size, noise)
        return last - mean("selected/policy/win_rate", loss, size, noise)

    sizes = sorted(table(folder, "cells")[pairs].unique())
    most = sizes[-1]
    enough = [max(lost(loss, size, 0.2) for loss in losses) for size in sizes if size >= 1000]
    never = [lost(loss, size, 0.4) for loss in losses for size in sizes]
    clean = "validation/clean_accuracy"
    higher = [mean(f"selected/{clean}", loss, most, 0.4) - mean(f"last/{clean}", loss, most, 0.4)
              for loss in losses]  # fmt: skip
    epochs = table(folder, "cells").query("noise == 0.4 and `dataset.validation_pairs` == @most")
    holds(max(enough) < 1, "1,000 pairs lose less than a point at noise 0.2")
    holds(min(never) > 1, "no size finds the last epoch's wins at noise 0.4")
    holds(min(higher) > 0, "the selected epoch is more accurate than the last")
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
    holds(bool((stuck.abs() < 1e-6).all()), "the truncated hinge never leaves the reference")
    claims = table("gold_language_beta", "claims")
    matched = claims[claims["claim"].str.contains("whose KL is closest")]
    holds(bool((matched["outcome"] == "supported").all()), "losses win as often at matched KL")
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
