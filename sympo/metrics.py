"""Every metric, declared once: what it is called, its unit and range, and where it is shown.

Records, validity checks, figures, tables and reports read from here. A metric is called by its path
below the epoch it was measured at, `test/order_accuracy`; the last part, its name, says what it
is.
"""

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

# the epochs that a run reports, as summaries name them and as readers see them
EPOCHS = {"last": "Last epoch", "selected": "Epoch chosen by noisy validation"}
# the accuracy on pairs of a model that guesses
CHANCE = 0.5

Axis = Literal["noise", "kl", "epochs", "digit"]
_AXES: tuple[Axis, ...] = ("noise", "kl", "epochs", "digit")


@dataclass(frozen=True)
class Metric:
    """One metric.

    name: the last part of its path; where: the part before it, for what is shown.
    title, unit: how it is written; factor: from the stored to the written value.
    low, high: the range of stored values; a value outside of it is damage.
    floor: the least true value, if estimates can fall below it.
    line: the written value that figures mark with a line, such as chance.
    note, over_seeds: what a caption says of it, always and for intervals over seeds.
    diagonal: whether figures against noise mark the noise rate itself with a line.
    of_flips: whether it exists only for flipped labels, so not at noise 0.
    panel: whether it is a row of the panel on training, in the order of this table.
    figures: the axes it is drawn against; figure: what those files are called instead of `name`.
    section: figures of one section are sorted by axis, sections follow one another.
    headline: jobs are judged by the first such metric that they measure.
    baseline: the accuracy of cheap baselines on the same items that it is shown beside:
        `baseline/longer/<baseline>`; empty if it has none.
    """

    name: str
    where: str = ""
    title: str = ""
    unit: str = ""
    factor: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    floor: float = -math.inf
    line: float | None = None
    note: str = ""
    over_seeds: str = ""
    diagonal: bool = False
    of_flips: bool = False
    panel: bool = False
    figures: tuple[Axis, ...] = ()
    figure: str = ""
    section: int = 2
    headline: bool = False
    baseline: str = ""

    @property
    def path(self) -> str:
        """`test/order_accuracy`."""
        return f"{self.where}/{self.name}" if self.where else self.name

    @property
    def written_range(self) -> tuple[float, float]:
        """The range of true values, as written."""
        return max(self.factor * self.low, self.floor), self.factor * self.high

    @property
    def label(self) -> str:
        """`Test pairwise accuracy (%)`."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def heading(self, path: str) -> str:
        """`Test pairwise accuracy (test/order_accuracy, %)`, for a path that ends in its name."""
        if self.title in ("", path):
            return f"{path} ({self.unit})" if self.unit else path
        return f"{self.title} ({path}, {self.unit})" if self.unit else f"{self.title} ({path})"


@dataclass(frozen=True)
class MetricFigure:
    """A figure of one metric; name: of its files, `accuracy_vs_noise`."""

    name: str
    metric: Metric
    axis: Axis


METRICS = (
    Metric("epoch", low=0),
    Metric(
        "order_accuracy", "test", "Test pairwise accuracy", "%", 100, 0, 1,
        figures=("noise", "epochs"), figure="accuracy", section=0, headline=True,
        baseline="order_accuracy",
    ),
    Metric(
        "label_accuracy", "test", "Accuracy on test labels as released", "%", 100, 0, 1, line=50,
        note="The test labels are as released: they are noisy themselves, so that 100% cannot be "
        "reached.",
        over_seeds="All seeds have the same test pairs: the interval says how training varies, not "
        "what other pairs would give.",
        figures=("noise", "epochs"), section=1, headline=True, baseline="label_accuracy",
    ),
    Metric(
        "win_rate", "policy", "Win rate over the reference", "%", 100, 0, 1, line=50,
        figures=("noise", "kl", "epochs"), headline=True,
    ),
    Metric(
        "win_rate_chosen", "policy", "Win rate over the chosen answers", "%", 100, 0, 1, line=50,
        figures=("noise",),
    ),
    Metric("gold_reward", "policy", "Gold reward", figures=("kl", "epochs")),
    Metric(
        "implicit_accuracy", "test", "Implicit reward accuracy", "%", 100, 0, 1, line=50,
        figures=("noise", "epochs"), headline=True, baseline="label_accuracy",
    ),
    *(
        Metric(f"{name}_{side}", "test", f"{title}, {side}", unit, panel=True)
        for name, title, unit in (
            ("logp", "Log-probability", "nats per response"),
            ("reward", "Implicit reward", ""),
        )
        for side in ("chosen", "rejected")
    ),
    Metric("margin_unflipped", "train", "Training margin, unflipped pairs", panel=True),
    Metric("margin_flipped", "train", "Training margin, flipped pairs", panel=True),
    Metric(
        "kl", "policy", "KL to the reference", "nats per answer", floor=0, panel=True,
        figures=("epochs",),
    ),
    Metric("length", "policy", "Response length", "tokens", low=0, panel=True),
    Metric("entropy", "policy", "Entropy", "nats per token", low=0, panel=True),
    Metric(
        "flipped_memorised", "train", "Share of flipped training pairs memorised", "%", 100, 0, 1,
        figures=("epochs",), figure="memorised",
    ),
    Metric(
        "flip_auroc", "train", "AUROC of flip detection", low=0, high=1, line=0.5, of_flips=True,
        note="Training pairs are ranked by their margin; 1 puts every flipped pair first.",
        figures=("noise", "epochs"),
    ),
    *(
        Metric(
            f"no_gradient_{kind}", "train", f"{kind.title()} training pairs without gradient", "%",
            100, 0, 1, of_flips=kind == "flipped", figures=("epochs",),
            note="Without gradient: |l'(z)| is at most 1% of the largest among the training pairs.",
        )
        for kind in ("flipped", "unflipped")
    ),
    Metric(
        "noise_estimate", "validation", "Noise rate estimated from margins", "%", 100, 0, 1,
        diagonal=True, figures=("noise",),
        note="The share of validation labels that the model contradicts, among the fifth of the "
        "pairs with the largest margins.",
    ),
    Metric(
        "reward_mean", "test", "Learned reward", "standard deviations",
        figures=("digit",), figure="reward",
    ),
    Metric("final_reward_correct", title="Doubled accuracy on the last test batch", low=0, high=2),
    # of a filter, the same for every loss: drawn by the comparisons of presets
    Metric("filter_rate", "", "Mean probability that a label is wrong", "%", 100, 0, 1),
    Metric("filter_share", "", "Share of pairs that the filter doubts", "%", 100, 0, 1),
    Metric("filter_precision", "", "Share of suspects that are flipped", "%", 100, 0, 1),
    Metric("filter_recall", "", "Share of flipped pairs found", "%", 100, 0, 1),
    Metric("tie_rate", low=0, high=1),
    Metric("tie_rate_chosen", low=0, high=1),
    Metric("ece", title="Calibration error (ECE)", low=0, high=1),
    Metric("spearman", title="Rank correlation with the true reward", low=-1, high=1),
    Metric("kendall", title="Rank correlation with the true reward (Kendall)", low=-1, high=1),
    Metric("truncated", low=0, high=1),
    Metric("kendall_in_prompt", low=-1, high=1,
           title="Rank correlation of the learned reward"),
    Metric("labeller_kendall", low=-1, high=1,
           title="Rank correlation of the labeller's reward"),
    Metric("gap_slope", title="Slope of the learned gap on the true gap"),
    Metric("gold_gain", title="Gain in gold reward over the reference"),
    Metric("effective_pairs", title="Clean pairs worth as much, n (1 - 2 noise)^2", low=0),
    *(
        Metric(f"gradient_{kind}", title=f"Mean slope of the loss, {kind} pairs", low=0)
        for kind in ("flipped", "unflipped")
    ),
    Metric("gradient_norm", title="Norm of the mean gradient", low=0),
    Metric("epochs_to_95", title="Epochs to 95% of the final accuracy", low=0),
    Metric("stalled", title="Stalled runs", unit="%", factor=100, low=0, high=1),
    Metric("loss", title="Training loss"),
    Metric("margin_mean", title="Mean test margin"),
    *(
        Metric(f"{kind}_accuracy", "", f"Accuracy on {kind} labels", "%", 100, 0, 1)
        for kind in ("noisy", "clean")
    ),
    Metric("length_adjusted_win_rate", "", "Length-adjusted win rate", "%", 100, 0, 1, line=50),
    Metric("authors_win_rate", "", "Win rate by the authors' protocol", "%", 100, 0, 1, line=50),
    Metric("first_shown_wins", "", "Wins of the response shown first", "%", 100, 0, 1, line=50),
    Metric("invalid_rate", low=0, high=1),
)  # fmt: skip
# names that metrics share: any accuracy, and any standard error
_FAMILIES = (
    (re.compile(r"(\w+_)?accuracy"), 0, 1),
    (re.compile(r"\w+_se"), 0, math.inf),
)
_BY_NAME = {metric.name: metric for metric in METRICS}
KL = _BY_NAME["kl"].path
HEADLINES = tuple(metric.path for metric in METRICS if metric.headline)


def undeclared(path: str) -> str:
    """What to do about a metric that is not declared, by the last part of its path; empty if it
    is."""
    name = path.rsplit("/", 1)[-1]
    if name in _BY_NAME:
        return ""
    if close := difflib.get_close_matches(name, _BY_NAME, n=1):
        return f"did you mean {close[0]}?"
    return "a metric of your own must be declared in sympo/metrics.py first"


def metric_of(path: str) -> Metric:
    """The metric of a path, by its name; one that is not declared is called by its whole path."""
    return _BY_NAME.get(path.rsplit("/", 1)[-1]) or Metric(path, title=path)


@cache
def bounds(path: str) -> tuple[float, float]:
    """The range a metric can lie in, such as `test/order_accuracy` from 0 to 1."""
    name = path.rsplit("/", 1)[-1]
    if known := _BY_NAME.get(name):
        return known.low, known.high
    return next(
        ((low, high) for pattern, low, high in _FAMILIES if pattern.fullmatch(name)),
        (-math.inf, math.inf),
    )


def is_metric(name: str) -> bool:
    """Whether a recorded name is that of a number; other values are not checked."""
    return name == "epoch" or "/" in name


def figures() -> Iterable[MetricFigure]:
    """Every figure of one metric, in the order of reports."""
    drawn = [(metric, axis) for axis in _AXES for metric in METRICS if axis in metric.figures]
    for metric, axis in sorted(drawn, key=lambda pair: pair[0].section):
        yield MetricFigure(f"{metric.figure or metric.name}_vs_{axis}", metric, axis)
