"""The paragraphs about models of real texts."""

import pandas as pd

from experiments.committed_results import cells, holds, span, table

JUDGE = "reward_model"


def text_rewards() -> str:
    """Reward models of real texts under injected noise."""
    ultra, hh = "ultrafeedback_reward_accuracy", "hh_reward_accuracy"
    pairs = pd.concat([table(folder, "differences") for folder in (ultra, hh)])
    pairs = pairs[pairs["metric"] == "last/test/label_accuracy"]
    apart = int(((pairs["low"] > 0) | (pairs["high"] < 0)).sum())
    # about 1 in 20 intervals would exclude 0 by chance
    holds(apart < 0.05 * len(pairs), "no loss is measurably more robust")

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
    holds(not ((rows["low"] > 0) | (rows["high"] < 0)).any(), "no loss of SmolLM2 is better")
    labels = table(folder, f"label_agreement-{JUDGE}")
    by_length = labels[labels["by"] == "length"]
    whole, shorter, longer = labels.iloc[0], by_length.iloc[0], by_length.iloc[-1]
    judges = table(folder, "label_agreement_of_both_judges")
    smollm2, minilm = (
        judges[judges["model"] == f"{model}_reward"].iloc[0] for model in ("smollm2", "minilm")
    )
    holds(
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
