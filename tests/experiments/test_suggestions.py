"""Near misses on the command line are answered with the likely word."""

import sys

import pytest

from experiments.settings import groups, unknown_override
from experiments.suggestions import missing_equals, sweep_or_list, unknown_option
from tests.helpers.configs import composed


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("epochs=3", "epochs: there is no such key; did you mean job.epochs=3?"),
        ("lr=0.1", "lr: there is no such key; did you mean job.learning_rate=0.1?"),
        ("model.epochs=3", "model.epochs: there is no such key; did you mean job.epochs=3?"),
        ("margin=simpo", "margin: there is no such key; did you mean job/margin?"),
        ("nois=0.1", "nois: there is no such key; did you mean noise?"),
        ("wandb.mod=offline", "wandb.mod: there is no such key; did you mean mode?"),
        ("zzz=1", "zzz: there is no such key; use one of allow_external_targets, "),
    ],
)
def test_keys(typed: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", typed])
    config, _ = composed("job=reward_model")
    assert unknown_override(typed.split("=")[0], config).startswith(words)


def test_options() -> None:
    options = ["digits_accuracy_vs_noise", "flip_detection", "ramp"]
    for typed, meant in (("rmap", "ramp"), ("digits", "digits_accuracy_vs_noise")):
        message = unknown_option("loss", typed, options)
        assert message == f"loss={typed}: there is no such option; did you mean {meant}?"
    assert unknown_option("loss", "xyz", options).endswith(f"use one of {', '.join(options)}")


def test_several_values_without_m() -> None:
    assert sweep_or_list("loss=ramp,logistic", True, None) == (
        "loss=ramp,logistic: add -m to sweep these options"
    )
    numbers = sweep_or_list("noise=0.1,0.3", False, "'noise=\"0.1,0.3\"'")
    assert numbers == "noise=0.1,0.3: add -m to sweep these values, or put a list in brackets"
    assert "quote a single string, 'x'" in sweep_or_list("dataset.path=a,b", False, "'x'")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("noise 0.3", "noise=0.3"),
        ("noise =0.3 loss=ramp", "noise=0.3"),
        ("noise = 0.3", "noise=0.3"),
        ("-m loss ramp,logistic noise=0,0.3", "loss=ramp,logistic"),
        ("job.epochs 3", "job.epochs=3"),
        ("job/margin simpo", "job/margin=simpo"),
        ("results_dir a;b", "'results_dir=a;b'"),
    ],
)
def test_a_space_for_an_equals_sign(
    typed: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *typed.split()])
    (key,) = [one for one in typed.split() if meant.strip("'").startswith(f"{one}=")]
    value = meant.strip("'").removeprefix(f"{key}=")
    assert missing_equals(key, composed()[0], groups()) == (
        f"{key} {value}: a key and its value are joined by =; write {meant}"
    )


@pytest.mark.parametrize(
    "typed", ["noise", "noise loss=ramp", "noise -m", "noize 0.3", "0.3 noise"]
)
def test_a_word_alone_means_nothing(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *typed.split()])
    assert missing_equals(typed.split()[0], composed()[0], groups()) is None
