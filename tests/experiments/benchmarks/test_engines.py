"""Our trainers and TRL's compute the same losses and take the same steps on the same pairs."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.benchmarks.dpo_vs_trl import DPOTask, reference
from experiments.benchmarks.engines import TRL, Engine, Task
from experiments.benchmarks.llama_flops import SHAPES, Shape
from experiments.benchmarks.preference_pairs import Pairs
from experiments.benchmarks.reward_vs_trl import RewardTask
from tests.integrations.tiny import WORDS, tokenizer

COUNT, FILLER, STEPS = 12, 0, 2


def pairs(logps: np.ndarray | None = None) -> Pairs:
    """Pairs of random ids without the filler, which share prompts of two to four tokens."""
    draw = np.random.default_rng(0)

    def words(length: int) -> np.ndarray:
        return draw.integers(1, len(WORDS), length)

    start = draw.integers(2, 5, COUNT)
    prompts = [words(length) for length in start]
    sides = [
        [np.concatenate([prompt, words(draw.integers(1, 9))]) for prompt in prompts]
        for _ in range(2)
    ]
    return Pairs(*sides, start, 4, np.zeros((COUNT, 2)) if logps is None else logps, FILLER)


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> argparse.Namespace:
    monkeypatch.setitem(SHAPES, "tiny", Shape(len(WORDS), 32, 64, 2, 4, 2))
    tokenizer().save_pretrained(tmp_path)
    return argparse.Namespace(
        shape="tiny", length=16, device="cpu", tokens=40, attention="auto", compile=False,
        gradient_checkpointing=False, tokenizer=tmp_path, threads=1,
    )  # fmt: skip


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).double()


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", [DPOTask(), RewardTask()], ids=lambda task: type(task).__name__)
def test_losses_and_steps_are_equal(
    task: Task, compiled: bool, arguments: argparse.Namespace
) -> None:
    pytest.importorskip("trl")
    arguments.compile = compiled
    made, batches = pairs(), np.split(np.arange(8), STEPS)
    if isinstance(task, DPOTask):
        # with an offset, so that the first margins are not zero
        made = pairs(reference(task, made, batches, arguments) + np.eye(2)[np.arange(COUNT) % 2])
    peer = TRL(task, "peer", most=2).trainer(batches, made, arguments)
    expected = [
        float(
            peer.compute_loss(
                peer.model, peer.data_collator([peer.train_dataset[int(i)] for i in batch])
            )
        )
        for batch in batches
    ]
    start = weights(peer.model)
    peer.train()

    ours = Engine(task).trainer(batches, made, arguments)
    assert torch.equal(weights(ours.scorer.model), start)
    losses = [ours.step(batch) for batch in batches]
    assert losses[0] == pytest.approx(expected[0], rel=1e-6)
    # the second is after a step of 1e-6
    assert losses[1] == pytest.approx(expected[1], rel=1e-4)
    assert abs(expected[0] - np.log(2)) > 1e-3

    moved = weights(peer.model) - start
    difference = weights(ours.scorer.model) - start - moved
    assert difference.norm() < 0.02 * moved.norm() and moved.norm() > 0
