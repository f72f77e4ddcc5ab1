"""What a preset asks of its report is read strictly, and refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest

from sympo.report_settings import Comparison, ReportSettings
from sympo.types import BadInput

FIGURE: dict[str, Any] = {"name": "mine", "metric": "test/spearman"}
CLAIM: dict[str, Any] = {
    "claim": "Ramp is better", "source": "Lemma 1", "kind": "greater",
    "metric": "last/test/order_accuracy", "a": {"loss": "ramp"}, "b": {"loss": "logistic"},
}  # fmt: skip


def test_defaults_and_single_values() -> None:
    given = FIGURE | {"lines": "noise_model", "where": {"noise": 0.3, "loss": ["ramp", "ipo"]}}
    (found,) = ReportSettings.of({"comparisons": [given]}).comparisons
    assert found == Comparison(
        "mine", "test/spearman", lines=("noise_model",),
        where={"noise": (0.3,), "loss": ("ramp", "ipo")},
    )  # fmt: skip
    assert (found.x, found.epoch, found.panels) == ("noise", ("last",), None)
    assert not ReportSettings.of({"comparisons": [], "claims": []})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nmae": 1}, ["report.comparisons[0].nmae=1", "did you mean name?"]),
        ({"name": "a/b"}, ["comparisons[0].name='a/b'", "name of a file"]),
        ({"name": "accuracy_vs_noise"}, ["name=accuracy_vs_noise", "standing figure"]),
        ({"name": "cells"}, ["name=cells", "standing figure or table"]),
        ({"metric": "last/test/spearman"}, ["metric=last/test/spearman", "epoch"]),
        ({"metric": "test/speerman"}, ["metric=test/speerman", "did you mean spearman?"]),
        ({"metric": "test/my_number"}, ["metric=test/my_number", "sympo/metrics.py"]),
        ({"metric": "spearman"}, ["metric=spearman", "must begin with train"]),
        ({"x": "train pairs"}, ["x=train pairs is not a setting", "dataset.train_pairs"]),
        ({"x": "seed"}, ["x=seed is not allowed", "means over seeds"]),
        ({"x": "policy/klm"}, ["x=policy/klm is not a metric", "did you mean kl?"]),
        ({"epoch": "best"}, ["epoch='best'", "last or selected"]),
        ({"epoch": [["last"]]}, ["epoch=['last']", "last or selected"]),
        ({"name": "a" * 101}, ["at most 100"]),
        ({"name": "mine__2"}, ["without __"]),
        ({"name": "Cells"}, ["name=Cells", "standing figure or table"]),
        ({"where": {"noise": "high"}}, ["where.noise='high'", "[0, 0.5)"]),
        ({"where": {"epoch": "best"}}, ["where.epoch='best'", "last or selected"]),
        ({"metric": "policy/kl", "bound": {"noise": 0}},
         ["bound is not allowed with metric=policy/kl", "test/order_accuracy"]),
        ({"choose": {"setting": "noise", "by": "last/validation/noisy_accuracy"}},
         ["choose.setting=noise is not allowed"]),
        ({"choose": {"setting": "job.epochs", "by": "last/test/order_accuracy"}},
         ["choose.by=last/test/order_accuracy", "selected/validation/noisy_accuracy"]),
        ({"choose": {"setting": "job.epochs", "by": "last/policy/kl"}},
         ["choose.by=last/policy/kl is not allowed", "validation/noisy_accuracy"]),
        ({"choose": {"setting": "job.epochs", "by": "last/policy/win_rate", "nearest": 2}},
         ["choose.by=last/policy/win_rate is not allowed", "last/policy/kl", "with nearest"]),
        ({"choose": {"setting": "job.epochs", "by": "last/policy/kl", "nearest": 0}},
         ["choose.nearest=0 is not allowed: it must be a number of nats above 0"]),
        ({"choose": {"setting": "job.epochs", "by": "last/validation/clean_accuracy"}},
         ["choose.by=last/validation/clean_accuracy is not allowed"]),
        ({"epoch": []}, ["epoch=[]", "last or selected"]),
        ({"log_x": "yes"}, ["log_x='yes'", "true or false"]),
        ({"lines": ["loss", 3]}, ["lines=3", "a text"]),
        ({"panels": ["noise"]}, ["panels=['noise']", "a text"]),
        ({"where": {"a rate": 1}}, ["where.a rate=a rate is not a setting"]),
        ({"where": {"noise": {"a": 1}}}, ["where.noise", "a value or a list"]),
        ({"where": {"noise": []}}, ["where.noise=[]", "a value or a list"]),
        ({"metric": None}, ["metric=None", "a text"]),
    ],
)  # fmt: skip
def test_comparisons_are_checked(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        ReportSettings.of({"comparisons": [FIGURE | change]})
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margins": 1}, ["report.claims[0].margins=1", "did you mean margin?"]),
        ({"claim": "Ramp is better."}, ["claims[0].claim", "without a full stop"]),
        ({"kind": "less"}, ["claims[0].kind='less'", "equal or greater"]),
        ({"kind": "equal"}, ["claims[0].margin is missing"]),
        ({"kind": "equal", "margin": 0}, ["claims[0].margin is missing"]),
        ({"margin": -1}, ["claims[0].margin=-1", "at least 0"]),
        ({"margin": True}, ["claims[0].margin=True"]),
        ({"metric": "test/order_accuracy"}, ["must begin with last or selected/"]),
        ({"metric": "last/test/orderaccuracy"}, ["did you mean order_accuracy?"]),
        ({"a": {"loss.": "ramp"}}, ["claims[0].a.loss.=loss. is not a setting"]),
        ({"b": {}}, ["claims[0].b={}", "at least one setting"]),
        ({"over": ["Loss"]}, ["claims[0].over=Loss is not a setting"]),
    ],
)
def test_claims_are_checked(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        ReportSettings.of({"claims": [CLAIM | change]})
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("key", ["claim", "source", "kind", "metric", "a", "b"])
def test_missing_keys_are_named(key: str) -> None:
    with pytest.raises(BadInput, match=rf"^report\.claims\[0\]\.{key} is missing$"):
        ReportSettings.of({"claims": [{k: v for k, v in CLAIM.items() if k != key}]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"comparison": []},
            "report.comparison=[]: there is no such key; did you mean comparisons",
        ),
        ({"claims": {}}, "report.claims={} is not allowed: it must be a list"),
        ([], "report=[] is not allowed: it must be a mapping"),
        ({"comparisons": [FIGURE, FIGURE | {"name": "MINE"}]}, "comparisons[1].name=mine is also"),
        ({"comparisons": [FIGURE, FIGURE]}, "comparisons[1].name=mine is also the name"),
    ],
)
def test_lists_are_checked(given: object, words: str) -> None:
    with pytest.raises(BadInput) as error:
        ReportSettings.of(given)
    assert words in str(error.value)


def test_settings_are_read_from_presets_and_stored_beside_the_numbers(tmp_path: Path) -> None:
    preset = tmp_path / "preset.yaml"
    text = (
        "# @package _global_\nhydra: {sweeper: {params: {seed: range(5)}}}\nreport:\n"
        "  comparisons:\n    - {name: mine, metric: test/spearman, x: dataset.train_pairs}\n"
        "  claims:\n    - {claim: A, source: B, kind: equal, margin: 0.1, over: [loss],\n"
        "       metric: last/test/ece, a: {noise: 0}, b: {noise: [0.1, 0.2], dataset: null}}\n"
    )
    preset.write_text(text)
    found = ReportSettings.load(preset, "small")
    assert found.comparisons[0].x == "dataset.train_pairs"
    assert found.claims[0].b == {"noise": (0.1, 0.2), "dataset": (None,)}
    found.write(tmp_path)
    assert ReportSettings.stored(tmp_path) == found
    assert ReportSettings.stored(tmp_path / "elsewhere") == ReportSettings()
    preset.write_text("x: ${noise}\n")
    with pytest.raises(BadInput, match=r"preset\.yaml\.x='\$\{noise\}': there is no such key"):
        ReportSettings.load(preset)
    with pytest.raises(BadInput, match=r"--report=.*none\.yaml cannot be read"):
        ReportSettings.load(tmp_path / "none.yaml")
