"""A filter between the flips and the training of a cell."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import sympo
from sympo import seeding
from sympo.cleaning import Ensemble, PairFilter, Posterior, SmallLoss
from sympo.pipelines.cleaning import cleaning_metrics
from sympo.pipelines.reference import Reference
from sympo.protocols.cleaning import CleaningModels
from sympo.types import NoisyPairs, chosen_over_rejected

TINY = sympo.TinyReward(hidden_size=16, intermediate_size=24, heads=2)
DIGITS = sympo.Digits(train_pairs=400, validation_pairs=200, test_pairs=300)


def test_a_filter_is_a_shared_stage_and_is_recorded(tmp_path: Path) -> None:
    def run(loss: str, action: str) -> sympo.Trained:
        chosen = Ensemble(folds=2, epochs=2, action=action)  # type: ignore[arg-type]
        return sympo.train_reward_model(
            DIGITS, loss, 0.3, filter=chosen, results_dir=tmp_path, epochs=2, batch_size=50
        )

    first = run("logistic", "remove")
    (stage,) = (tmp_path / "stages").glob("filter-*")
    made = (stage / "suspects.npz").stat().st_mtime_ns
    others = [run("ramp", "remove"), run("ramp", "flip")]
    assert [one.name for one in (tmp_path / "stages").glob("filter-*")] == [stage.name]
    assert (stage / "suspects.npz").stat().st_mtime_ns == made
    with np.load(stage / "suspects.npz") as found:
        suspects = found["suspects"]
    noisy = sympo.flip(sympo.Symmetric(), 0.3, DIGITS.draw(0).train, 0)
    expected = (suspects & noisy.flipped).sum() / suspects.sum()
    for one in (first, *others):
        assert one.metrics["train/filter_precision"] == pytest.approx(expected)
        assert one.metrics["train/filter_share"] == pytest.approx(suspects.mean())
        assert one.history[0]["train/filter_recall"] == one.metrics["train/filter_recall"]
    plain = sympo.train_reward_model(DIGITS, "ramp", 0.3, results_dir=tmp_path, epochs=2)
    assert "train/filter_precision" not in plain.metrics
    assert len({one.folder for one in (first, *others, plain)}) == 4


def test_a_filter_that_doubts_every_pair_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Ensemble, "suspects", lambda self, models, ids, seed: np.ones(len(ids), bool)
    )
    with pytest.raises(sympo.TrainingFailed, match="doubts all 400 training pairs and leaves none"):
        sympo.train_reward_model(
            DIGITS, "ramp", 0.3, filter=Ensemble(folds=2, epochs=1), results_dir=tmp_path, epochs=1
        )


def test_a_filter_sees_no_clean_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    inside = SmallLoss.suspects

    def watched(self: SmallLoss, models: object, ids: np.ndarray, seed: int) -> np.ndarray:
        found = inside(self, models, ids, seed)  # type: ignore[arg-type]
        trainer = models.trainer  # type: ignore[attr-defined]
        seen.append(trainer.label[0].numpy())
        return found

    monkeypatch.setattr(SmallLoss, "suspects", watched)
    sympo.train_reward_model(
        DIGITS, "ramp", 0.3, filter=SmallLoss(epochs=1), epochs=1, results_dir=tmp_path
    )
    noisy = sympo.flip(sympo.Symmetric(), 0.3, DIGITS.draw(0).train, 0)
    assert np.array_equal(seen[0], noisy.noisy_label)


def test_what_a_filter_did() -> None:
    pairs = chosen_over_rejected(np.arange(4, dtype=np.uint64))
    noisy = NoisyPairs(pairs, np.array([True, True, False, False]))
    assert cleaning_metrics(noisy) == {}
    suspects = np.array([True, False, False, False])
    for action in ("remove", "flip"):
        assert cleaning_metrics(noisy.cleaned(suspects, action)) == {
            "train/filter_rate": 0.25, "train/filter_share": 0.25, "train/filter_precision": 1.0,
            "train/filter_recall": 0.5,
        }  # fmt: skip


def test_what_becomes_of_doubts() -> None:
    pairs = chosen_over_rejected(np.arange(3, dtype=np.uint64))
    noisy = NoisyPairs(pairs, np.zeros(3, dtype=bool))
    doubt = np.array([0.9, 0.5, 0.2])
    assert noisy.cleaned(doubt, "remove").weight == pytest.approx([0, 1, 1])
    assert noisy.cleaned(doubt, "flip").trained_label.tolist() == [-1, 1, 1]
    assert noisy.cleaned(doubt, "soften").probability == pytest.approx([0.1, 0.5, 0.8])
    soft = NoisyPairs(pairs, np.zeros(3, dtype=bool), probability=np.array([0.6, 0.6, 1.0]))
    # right if both the annotator and the label are, or neither is
    assert soft.cleaned(doubt, "soften").probability == pytest.approx([0.42, 0.5, 0.8])


LANGUAGE = sympo.GoldLanguage(corpus_texts=300, train_pairs=96, validation_pairs=32, test_pairs=32)


@pytest.mark.parametrize("action", ["remove", "flip"])
def test_a_policy_is_trained_on_clean_pairs(tmp_path: Path, action: str) -> None:
    """Flips that a perfect filter turns around are as if they had never been."""

    def run(noise: float, chosen: PairFilter | None) -> sympo.Trained:
        return sympo.train_policy(
            LANGUAGE, "logistic", noise, filter=chosen, results_dir=tmp_path,
            model=sympo.TinyLM(hidden_size=16, intermediate_size=24, heads=2),
            epochs=1, batch_size=32, learning_rate=1e-2, warmup_steps=0, evaluate_every=1,
            sft=sympo.FineTuning(epochs=0), device="cpu",
            sampling=sympo.Sampling(prompts=8, max_new_tokens=16),
        )  # fmt: skip

    cleaned, clean = run(0.3, Knowing(action=action)), run(0.0, None)  # type: ignore[arg-type]
    assert cleaned.metrics["train/filter_precision"] == 1
    assert cleaned.metrics["train/filter_recall"] == 1
    same = np.allclose(cleaned.rewards("test"), clean.rewards("test"), atol=1e-6)
    assert same is (action == "flip")


def test_models_of_texts_leave_out_what_has_no_weight(tmp_path: Path) -> None:
    found = sympo.train_reward_model(
        LANGUAGE, "ramp", 0.3, model=TINY, filter=Halves(epochs=9), results_dir=tmp_path,
        epochs=3, batch_size=32, learning_rate=1e-2, warmup_steps=0, evaluate_every=1, device="cpu",
        reference=Reference(
            model=sympo.TinyLM(hidden_size=16, intermediate_size=24, heads=2),
            sft=sympo.FineTuning(epochs=0), sampling=sympo.Sampling(max_new_tokens=16),
        ),
    )  # fmt: skip
    assert found.metrics["train/filter_share"] == 0.5


@dataclass(frozen=True, kw_only=True)
class Knowing(PairFilter):
    """Knows the flips."""

    identity = "knowing"
    models = 1

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        models.train_epoch()
        assert models.margins().shape == (1, 96)
        assert models.validation_margins().shape == (1, 32)
        return seeding.uniform(seed, "flip", ids) < 0.3


@dataclass(frozen=True, kw_only=True)
class Halves(PairFilter):
    """Trains each of two models on another half of the pairs."""

    identity = "halves"
    models = 2

    def suspects(self, models: CleaningModels, ids: np.ndarray, seed: int) -> np.ndarray:
        assert self.epochs == 3  # not longer than the cell itself
        first = np.arange(len(ids)) < len(ids) // 2
        for _ in range(self.epochs):
            models.train_epoch(np.stack([first, ~first]).astype(float))
        margins = models.margins()
        # each has learnt the half that it was trained on
        own, other = margins[0, first] - margins[1, first], margins[1, ~first] - margins[0, ~first]
        assert own.mean() > 0 and other.mean() > 0
        return first


def test_soft_labels_reach_the_models_of_images_and_of_texts(tmp_path: Path) -> None:
    """A cell trained on soft labels has a larger loss than one that takes labels as right."""

    def images(chosen: PairFilter | None) -> sympo.Trained:
        return sympo.train_reward_model(
            DIGITS, "logistic", 0.3, filter=chosen, results_dir=tmp_path, epochs=2, batch_size=50
        )

    soft, plain = images(Posterior(epochs=2, assumed_rate=0.3)), images(None)
    assert 0.1 < soft.metrics["train/filter_rate"] < 0.5
    assert soft.metrics["train/loss"] > plain.metrics["train/loss"]
    texts = sympo.train_reward_model(
        LANGUAGE, "logistic", 0.3, model=TINY, filter=Posterior(epochs=2, assumed_rate=0.3),
        results_dir=tmp_path, epochs=2, batch_size=32, learning_rate=1e-2, warmup_steps=0,
        evaluate_every=1, device="cpu",
        reference=Reference(
            model=sympo.TinyLM(hidden_size=16, intermediate_size=24, heads=2),
            sft=sympo.FineTuning(epochs=0), sampling=sympo.Sampling(max_new_tokens=16),
        ),
    )  # fmt: skip
    assert 0.1 < texts.metrics["train/filter_rate"] < 0.5
