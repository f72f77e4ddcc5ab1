from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from sympo.analysis import Collection, against_kl, draw, loss_gallery, save_figure
from sympo.analysis.canvas import DRAWN, few_ticks, mark, panels, step_aside
from sympo.analysis.training_plots import reward_vs_digit
from tests.analysis.synthetic import policy_history, write_policy_sweep, write_run, write_sweep


@pytest.fixture
def collection(tmp_path):
    absent = [("ramp", 0.3, 1), ("hinge", 0.3, 0), ("hinge", 0.3, 1), ("hinge", 0.3, 2)]
    write_sweep(tmp_path, {"ramp": None, "hinge": None}, [0.0, 0.3], [0, 1, 2], missing=absent)
    return Collection.from_runs(tmp_path)


def texts(figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_figures_say_what_they_show(collection):
    figures = draw(collection)
    assert list(figures) == [
        "accuracy_vs_noise",
        "accuracy_vs_epochs",
        "memorised_vs_epochs",
        "reward_vs_digit",
    ]
    for figure in figures.values():
        said = " ".join(texts(figure).split())
        assert "digits, symmetric noise" in said
        assert "95% Student t interval" in said
    assert "n=2" in texts(figures["accuracy_vs_noise"])
    caption = " ".join(figures["accuracy_vs_noise"].get_supxlabel().split())
    assert "Missing cells: 4 (hinge at 0.3: 3; ramp at 0.3: 1)" in caption


def test_one_seed_says_that_its_interval_is_over_test_pairs(tmp_path):
    write_run(tmp_path)
    figure = draw(Collection.from_runs(tmp_path))["accuracy_vs_noise"]
    assert "over the test pairs only" in figure.get_supxlabel()


POLICY_FIGURES = [
    "win_rate_vs_noise",
    "win_rate_chosen_vs_noise",
    "implicit_accuracy_vs_noise",
    "win_rate_vs_kl",
    "gold_reward_vs_kl",
    "win_rate_vs_epochs",
    "gold_reward_vs_epochs",
    "implicit_accuracy_vs_epochs",
    "kl_vs_epochs",
    "memorised_vs_epochs",
]


def caption(figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def test_figures_of_policies(tmp_path):
    losses = {"ramp": None, "logistic": None}
    write_policy_sweep(tmp_path, losses, [0.1, 0.3], [0, 1, 2], missing=[("ramp", 0.3, 2)])
    figures = draw(Collection.from_runs(tmp_path))
    assert list(figures) == POLICY_FIGURES
    for name, figure in figures.items():
        # these synthetic cells memorise alike at every seed
        alike = name == "memorised_vs_epochs"
        interval = "no interval" if alike else "95% Student t interval over 2 to 3 seeds"
        assert interval in caption(figure)
        assert "Missing cells: 1 (ramp at 0.3: 1)" in caption(figure)
    for name in ("win_rate_vs_noise", "win_rate_vs_kl", "implicit_accuracy_vs_epochs"):
        assert "Grey line: 50%" in caption(figures[name])
        for ax in figures[name].axes:
            assert ax.get_ylim()[0] < 50 < ax.get_ylim()[1]
    assert "Grey line" not in caption(figures["kl_vs_epochs"])


def test_training_panel_has_a_row_per_metric_and_a_column_per_rate(tmp_path):
    losses, rates = {"ramp": None, "logistic": None}, [0.0, 0.1, 0.2, 0.4]
    write_policy_sweep(tmp_path, losses, rates, [0, 1], panel=True)
    # a cell of an older version is left out of the panel only
    write_policy_sweep(tmp_path, {"hinge": None}, [0.2], [0, 1])
    figures = draw(Collection.from_runs(tmp_path))
    panel = figures["training_panel"]
    grid = np.array(panel.axes).reshape(9, 3)
    assert [ax.get_title() for ax in grid[0]] == ["noise 0", "noise 0.2", "noise 0.4"]
    assert grid[0, 0].get_ylabel().startswith("Log-probability")
    (chosen, _), (rejected, _) = (
        [line.get_ydata() for line in ax.lines] for ax in (grid[0, 1], grid[1, 1])
    )
    assert chosen[0] == -60 and rejected[0] == -62
    assert chosen[-1] < -69 and rejected[-1] < -81
    assert not grid[5, 0].lines and grid[5, 0].texts[0].get_text() == "no flips"
    assert len(grid[5, 1].lines) == 2
    assert "Missing" not in caption(panel)


def test_flip_detection_has_no_value_without_flips_and_none_is_missing(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.0, 0.2, 0.4], [0], panel=True)
    figures = draw(Collection.from_runs(tmp_path))
    detection, estimate = figures["flip_auroc_vs_noise"], figures["noise_estimate_vs_noise"]
    assert "Missing" not in caption(detection)
    assert [label.get_text() for label in detection.axes[0].get_xticklabels()] == ["0.2", "0.4"]
    assert "over the validation pairs only" in caption(estimate)
    assert "Grey line: the true rate." in caption(estimate)
    truth = next(line for line in estimate.axes[0].lines if line.get_color() == "#9a9a9a")
    np.testing.assert_allclose(truth.get_ydata(), 100 * truth.get_xdata())
    low, high = estimate.axes[0].get_ylim()
    assert low < 0 and high > 45


def test_collections_without_flips_have_no_flip_detection(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.0], [0], panel=True)
    figures = draw(Collection.from_runs(tmp_path))
    assert "flip_auroc_vs_noise" not in figures and "training_panel" in figures


def test_figures_of_one_policy_name_what_their_intervals_are_over(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.1, 0.3], [0])
    figures = draw(Collection.from_runs(tmp_path))
    bootstrap = "One seed: 95% bootstrap interval over the prompts only."
    normal = "One seed: 95% interval (1.96 standard errors) over the prompts only."
    assert bootstrap in caption(figures["win_rate_vs_noise"])
    assert bootstrap in caption(figures["win_rate_vs_kl"])
    assert "That of KL is 1.96 standard errors." in caption(figures["win_rate_vs_kl"])
    assert normal in caption(figures["kl_vs_epochs"])
    assert normal in caption(figures["gold_reward_vs_kl"])
    assert "over the test pairs only" in caption(figures["implicit_accuracy_vs_noise"])


def test_text_data_has_no_figure_of_a_gold_reward(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.1, 0.3], [0], gold=False)
    assert list(draw(Collection.from_runs(tmp_path))) == [
        "implicit_accuracy_vs_noise",
        "implicit_accuracy_vs_epochs",
        "kl_vs_epochs",
        "memorised_vs_epochs",
    ]


def test_trajectories_go_through_the_means_at_each_epoch(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.3], [0, 1])
    collection = Collection.from_runs(tmp_path)
    table = against_kl(collection.curves, "policy/win_rate")
    (ax,) = draw(collection)["win_rate_vs_kl"].axes
    trail, end = (line for line in ax.lines if line.get_marker() not in ("None", None))
    np.testing.assert_allclose(trail.get_xdata(), table["kl"])
    np.testing.assert_allclose(trail.get_ydata(), 100 * table["mean"])
    assert (end.get_xdata()[0], end.get_ydata()[0]) == pytest.approx(
        (table["kl"].iloc[-1], 100 * table["mean"].iloc[-1])
    )


@pytest.mark.parametrize("most", [0.00004, 0.0007, 0.0018, 0.0113, 9.0, 1000.0])
def test_labels_of_ticks_do_not_touch(most):
    with mpl.rc_context(DRAWN):
        figure, axes = panels(1, 3, width=3.1, height=2.7)
        axes[0].set_xlim(0, most)
        for ax in axes:
            few_ticks(ax)
        figure.draw_without_rendering()
    for ax in axes:
        boxes = [
            tick.label1.get_window_extent()
            for tick in ax.xaxis.get_major_ticks()
            if 0 <= tick.get_loc() <= most
        ]
        assert len(boxes) > 1
        assert all(left.x1 + 3 < right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(
    ("values", "gap"),
    [([0, 0.1, 0.2, 0.3, 0.4], 0.1), ([0, 0.4], 0.1), ([0.4], 0.1), ([], 0.1), ([0, 1, 100], 2.5)],
)
def test_lines_step_aside_by_at_most_a_quarter_of_the_range(values, gap):
    assert step_aside(values, 3) == pytest.approx(0.42 * gap / 3)


def test_the_true_reward_is_inside_the_panel():
    # few large items at the bottom: the true reward falls below what was learned
    items = [-2.0, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0]
    learned = np.tanh(3 * np.array(items))
    rewards = pd.DataFrame(
        {
            "job": "reward_model",
            "dataset": "shades",
            "noise_model": "symmetric",
            "loss": "ramp",
            "variant": "ramp",
            "noise": 0.1,
            "metric": "last/test/reward_mean",
            "item": items,
            "n_seeds": 3,
            "mean": learned,
            "low": learned - 0.01,
            "high": learned + 0.01,
            "interval": "student_t",
            "missing": 0,
        }
    )
    (ax,) = reward_vs_digit(rewards).axes
    low, high = ax.get_ylim()
    (true,) = (line.get_ydata() for line in ax.lines if line.get_linewidth() == 6)
    assert low < true.min() < learned.min() and true.max() < high


def test_released_labels_are_said_to_be_noisy_and_shared_by_seeds(tmp_path):
    labels = {"test/label_accuracy": 0.6, "test/label_accuracy_se": 0.01}
    for seed in range(2):
        write_run(tmp_path, seed=seed, dataset="hh", metrics=labels)
    figures = draw(Collection.from_runs(tmp_path))
    for name in ("label_accuracy_vs_noise", "label_accuracy_vs_epochs"):
        assert "noisy themselves, so that 100% cannot be reached" in caption(figures[name])
        assert "All seeds have the same test pairs" in caption(figures[name])
        assert "Accuracy on test labels as released" in " ".join(texts(figures[name]).split())
    one = draw(Collection.from_runs([next(tmp_path.glob("*/*/*/*/seed=0*"))]))
    assert "All seeds" not in caption(one["label_accuracy_vs_noise"])


def test_the_interval_of_one_seed_is_drawn_whole(tmp_path):
    wide = {"test/label_accuracy": 0.6, "test/label_accuracy_se": 0.1}
    write_run(tmp_path, dataset="hh", metrics=wide)
    figure = draw(Collection.from_runs(tmp_path))["label_accuracy_vs_noise"]
    assert "cut off" not in caption(figure)
    assert figure.axes[0].get_ylim()[1] > 60 + 19


def test_an_estimate_outside_of_its_range_is_inside_the_panel(tmp_path):
    runs = [policy_history("ramp", 0.3, 0), policy_history("logistic", 0.3, 0)]
    for loss, history in zip(("ramp", "logistic"), runs, strict=True):
        history[1] |= {"policy/kl": -2.0, "policy/kl_se": 0.5}
        write_run(tmp_path, job="policy", dataset="hh", loss=loss, noise=0.3, history=history)
    figure = draw(Collection.from_runs(tmp_path))["kl_vs_epochs"]
    assert figure.axes[0].get_ylim()[0] < -2


def test_a_note_comes_before_the_caption(collection):
    figure = draw(collection)["accuracy_vs_noise"]
    before = caption(figure)
    mark(figure, "A note.")
    assert before and caption(figure) == f"A note. {before}"


def test_files_are_the_same_bytes_each_time(collection, tmp_path):
    saved = [
        save_figure(draw(collection)["accuracy_vs_noise"], tmp_path / name)
        for name in ("first", "second")
    ]
    for first, second in zip(*saved, strict=True):
        assert first.stat().st_size > 5000
        assert first.read_bytes() == second.read_bytes()


def test_gallery_names_the_symmetric_losses(tmp_path):
    z = np.linspace(-5, 5, 101)
    losses = {"sigmoid": 1 / (1 + np.exp(z)), "logistic": np.logaddexp(0, -z)}
    curves = pd.concat(
        [
            pd.DataFrame({"loss": name, "z": z, "value": value, "sum": value + value[::-1]})
            for name, value in losses.items()
        ]
    )
    assert "every z: sigmoid." in " ".join(loss_gallery(curves).get_supxlabel().split())
