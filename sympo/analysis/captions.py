"""The words of titles, captions and table footnotes."""

import pandas as pd

from sympo.analysis.frames import before, show

# in a caption
_ONE_SEED = {
    "test_pairs": "One seed: 95% interval over the test pairs only.",
    "prompts": "One seed: 95% interval (1.96 standard errors) over the prompts only.",
    "validation_pairs": "One seed: 95% interval over the validation pairs only.",
    "bootstrap_test_pairs": "One seed: 95% bootstrap interval over the test pairs only.",
    "bootstrap_prompts": "One seed: 95% bootstrap interval over the prompts only.",
}
# below a table
INTERVALS = {
    "student_t": "±: half width of a 95% Student t interval over seeds",
    "seeds_and_items": "±: half width of a 95% interval over seeds (Student t) and test items, "
    "which covers up to 99% if training hardly differs between seeds",
    "test_pairs": "±, n=1: 1.96 standard errors over the test pairs; says nothing about seeds",
    "validation_pairs": "±, n=1: 1.96 standard errors over the validation pairs; says nothing "
    "about seeds",
    "prompts": "±, n=1: 1.96 standard errors over the prompts; says nothing about seeds",
    "bootstrap_test_pairs": "±, n=1: half width of a 95% bootstrap interval over the test pairs; "
    "says nothing about seeds",
    "bootstrap_prompts": "±, n=1: half width of a 95% bootstrap interval over the prompts; says "
    "nothing about seeds",
}
_MOST_LISTED = 6
# share of test pairs above which figures and tables report ties
MOST_TIES = 0.01
TWO_SEEDS = "two seeds are too few for a t interval, whose factor is 12.7"


def title(estimates: pd.DataFrame) -> str:
    """The experiment of the estimates: data set, noise model and differing settings."""
    first = estimates.iloc[0]
    leaves = before(estimates, "loss")[3:]
    parts = [f"{first['dataset']}, {first['noise_model']} noise, {first['job']}"]
    parts += [f"{leaf} = {show(first[leaf])}" for leaf in leaves if pd.notna(first[leaf])]
    return ", ".join(parts)


def interval_text(estimates: pd.DataFrame) -> str:
    drawn = estimates[estimates["n_seeds"] > 0]
    kinds = set(drawn["interval"])
    sentences = []
    over_seeds = drawn["interval"].isin(["student_t", "seeds_and_items"])
    if over_seeds.any():
        n = drawn.loc[over_seeds, "n_seeds"]
        seeds = f"{n.max()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"
        what = (
            f"95% interval over {seeds} seeds (Student t) and the test items, up to 99% if "
            "training hardly differs between seeds"
            if "seeds_and_items" in kinds
            else f"95% Student t interval over {seeds} seeds"
        )
        sentences.append(f"Mean and {what}.")
        if n.min() == 2:
            sentences.append(f"{TWO_SEEDS[0].upper()}{TWO_SEEDS[1:]}.")
    sentences += [text for kind, text in _ONE_SEED.items() if kind in kinds]
    if "none" in kinds:
        one = "One seed" if (drawn["n_seeds"] == 1).all() else "Nothing varies that was measured"
        sentences.append(f"{one}: no interval." if len(kinds) == 1 else "Some points: no interval.")
    return " ".join(sentences)


def missing_text(estimates: pd.DataFrame) -> str:
    """The missing cells of the grid, by loss and noise rate."""
    rows = estimates[estimates["missing"] > 0].drop_duplicates(["variant", "noise"])
    if rows.empty:
        return ""
    listed = [
        f"{variant} at {show(float(rate))}: {missing}"
        for variant, rate, missing in zip(
            rows["variant"], rows["noise"], rows["missing"], strict=True
        )
    ]
    if len(listed) > _MOST_LISTED:
        listed[_MOST_LISTED:] = [f"and {len(listed) - _MOST_LISTED} more places, see summary.csv"]
    return f"Missing cells: {int(rows['missing'].sum())} ({'; '.join(listed)})."


def ties(estimates: pd.DataFrame) -> str:
    """The cells in which more than MOST_TIES of the test pairs tie in predicted reward."""
    if "tie_rate" not in estimates:
        return ""
    rows = estimates[estimates["tie_rate"] > MOST_TIES]
    worst = rows.groupby(["variant", "noise"])["tie_rate"].max().sort_values(ascending=False)
    listed = [
        f"{row['variant']} at {show(float(row['noise']))} up to {100 * row['tie_rate']:.0f}%"
        for row in worst.head(_MOST_LISTED).reset_index().to_dict("records")
    ]
    if len(worst) > _MOST_LISTED:
        listed.append(f"and {len(worst) - _MOST_LISTED} more")
    what = f"ties, counted one half, exceed {100 * MOST_TIES:.0f}% of the test pairs"
    return f"{what}: {', '.join(listed)}" if listed else ""
