"""Training from Python: pairs in, a trained scorer and metrics out."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sympo.data.digits import Digits
from sympo.data.gold_language import GoldLanguage
from sympo.data.in_memory import TextPairs
from sympo.data.preferences import PreferenceSet
from sympo.losses import CDPO, Ramp
from sympo.models.texts import TinyLM
from sympo.noise import AnnotatorDependent, LengthDependent, SourceDependent
from sympo.pipelines import train
from sympo.pipelines.reference import FineTuning
from sympo.pipelines.train import train_policy, train_reward_model
from sympo.sampling import Sampling
from sympo.types import BadInput

SMALL = {"train_pairs": 200, "validation_pairs": 100, "test_pairs": 300}


def test_reward_model_of_images(tmp_path: Path) -> None:
    found = train_reward_model(
        Digits(**SMALL), "ramp", noise=0.1, seed=3, epochs=2, results_dir=tmp_path, device="cpu"
    )
    assert found.metrics["epoch"] == 2 and [line["epoch"] for line in found.history] == [2]
    rewards = found.rewards("test")
    assert rewards.shape == (300, 2)
    pairs = Digits(**SMALL).draw(3).test
    right = np.sign(rewards[:, 0] - rewards[:, 1]) == np.sign(pairs.gap)
    assert found.metrics["test/order_accuracy"] == pytest.approx(right.mean())
    images = Digits(**SMALL).images.pixels[pairs.first[:5]]
    assert np.allclose(found.scorer.rewards_of(images), rewards[:5, 0], atol=1e-5)
    assert isinstance(found.model, torch.nn.Module)
    assert found.folder is not None
    summary = json.loads((found.folder / "summary.json").read_text())
    assert (summary["dataset"], summary["loss"], summary["model"]) == ("digits", "ramp", "cnn")
    again = train_reward_model(
        Digits(**SMALL), Ramp(), noise=0.1, seed=3, epochs=2, results_dir=tmp_path, device="cpu"
    )
    assert again.metrics == found.metrics and again.scorer is None
    with pytest.raises(ValueError, match="force=True"):
        again.rewards("test")


def test_training_from_python_makes_the_cell_of_a_sweep(tmp_path: Path) -> None:
    from experiments.cells import prepare
    from tests.helpers.configs import composed

    overrides = [f"results_dir={tmp_path}", "noise=0.1", "job.epochs=2", "seed=3", "loss=cdpo"]
    overrides += ["assumed_rate=0.1", *(f"dataset.{key}={value}" for key, value in SMALL.items())]
    cell = prepare(*composed(*overrides))
    found = train_reward_model(
        Digits(**SMALL), CDPO(0.1), 0.1, seed=3, epochs=2, batch_size=128,
        results_dir=tmp_path,
    )  # fmt: skip
    assert cell.folder.complete and cell.folder.path == found.folder


def test_policy_without_results_dir_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = GoldLanguage(corpus_texts=300, train_pairs=64, validation_pairs=32, test_pairs=32)
    found = train_policy(
        data, "logistic", 0.2, model=TinyLM(hidden_size=16, intermediate_size=24, heads=2),
        epochs=1, batch_size=32, learning_rate=1e-3, warmup_steps=1, device="cpu",
        sft=FineTuning(epochs=1, learning_rate=1e-3, warmup_steps=1),
        sampling=Sampling(prompts=16, max_new_tokens=20),
    )  # fmt: skip
    assert found.folder is None and found.rewards("validation").shape == (32, 2)
    # the trained weights, without making the reference again
    assert found.model is found.model and found.model.config.hidden_size == 16
    assert not list(tmp_path.glob("sympo-*"))
    assert 0 <= (found.metrics["policy/win_rate"] or 0) <= 1
    assert found.history[0]["epoch"] == 0 and found.metrics["epoch"] == 1


def test_reward_model_on_sampled_pairs_needs_a_reference() -> None:
    data = GoldLanguage(corpus_texts=300, train_pairs=64, validation_pairs=32, test_pairs=32)
    with pytest.raises(BadInput, match="reference"):
        train_reward_model(data, noise=0.1)


def test_bad_input_is_raised_before_any_work(tmp_path: Path) -> None:
    for settings, words in (
        ({"noise": 0.5}, "noise=0.5"),
        ({"loss": "rampp"}, "rampp"),
        ({"device": "cuda:99"}, "device=cuda:99"),
        ({"epochs": 0}, "epochs=0"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(BadInput, match=words):
            train_reward_model(Digits(**SMALL), results_dir=tmp_path, **settings)
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadInput, match="dataset='digits' is not a data set"):
        train_reward_model("digits")


def test_a_failure_ends_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **keywords: object) -> None:
        raise RuntimeError("no memory left")

    monkeypatch.setattr("sympo.pipelines.image_reward_model.CellTrainer", fail)
    with pytest.raises(train.TrainingFailed, match="no memory left") as error:
        train_reward_model(Digits(**SMALL), epochs=1)
    assert "Traceback" in str(error.value)


def test_noise_by_length_source_and_annotator_reaches_texts_and_policies(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"Say {i}.",
            "chosen": f"{i} " * (1 + i % 2),
            "rejected": f"No {i}.",
            "of": i % 3,
        }
        for i in range(200)
    ]
    data = TextPairs(rows, source="of", annotator="of", validation_pairs=20)
    for model in (LengthDependent(), SourceDependent(), AnnotatorDependent(None)):
        found = train_reward_model(data, "ramp", 0.3, noise_model=model, epochs=1)
        assert found.metrics["train/flipped_memorised"] is not None
    with pytest.raises(BadInput, match="source_dependent needs the source of each pair"):
        train_reward_model(
            TextPairs(rows, validation_pairs=20), noise=0.3, noise_model=SourceDependent()
        )
    language = GoldLanguage(**SMALL)
    small = {"sft": FineTuning(epochs=0), "sampling": Sampling(prompts=8, max_new_tokens=20)}
    for model in (LengthDependent(1), SourceDependent()):
        policy = train_policy(
            language, "ramp", 0.3, model=TinyLM(), noise_model=model, epochs=1,
            results_dir=tmp_path, **small,
        )  # fmt: skip
        assert policy.metrics["train/flipped_memorised"] is not None


def test_one_source_is_refused_before_any_work(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{i}", "chosen": f"yes sir {i}", "rejected": "no", "s": "x"} for i in range(40)
    ]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    data = PreferenceSet(path=str(file), source="s", test_share=0.3, validation_pairs=5)
    job: dict[str, Any] = {"epochs": 1, "batch_size": 8, "results_dir": tmp_path / "r"}
    with pytest.raises(BadInput, match="needs at least two sources"):
        train_reward_model(data, noise=0.2, noise_model=SourceDependent(), **job)
    assert not (tmp_path / "r").exists()
