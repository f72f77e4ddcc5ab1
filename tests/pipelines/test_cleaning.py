"""A filter between the flips and the training of a cell."""

from pathlib import Path

import numpy as np
import pytest

import sympo
from sympo.cleaning import Ensemble, SmallLoss
from sympo.pipelines.cleaning import cleaning_metrics
from sympo.types import NoisyPairs, chosen_over_rejected

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
            "train/filter_share": 0.25, "train/filter_precision": 1.0, "train/filter_recall": 0.5
        }  # fmt: skip
