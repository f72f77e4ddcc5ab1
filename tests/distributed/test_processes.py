"""Two real processes do what one does, and stop together."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sympo.losses import DrDPO, Logistic, MarginLoss
from sympo.sampling import Sampling, Transformers
from sympo.training.pairwise import PreferenceTrainer
from tests.distributed.shared_work import PROMPTS, VOCABULARY, gradients, policy
from tests.training.made_pairs import make_rows, trainer, weights


@pytest.fixture(scope="module")
def both(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, list[Any]]:
    """The folder of two processes, what they said as they failed, and what each of them found."""
    out = tmp_path_factory.mktemp("processes")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         "-m", "tests.distributed.worker", str(out)],
        cwd=root, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return out, done.stderr, [torch.load(out / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize(
    ("name", "loss"), [("logistic", Logistic()), ("dr_dpo", DrDPO(temperature=0.05))]
)
@pytest.mark.parametrize("weights", ["", "divided "])
def test_two_processes_are_one(both: Any, weights: str, name: str, loss: MarginLoss) -> None:
    _same(both[2], weights + name, trainer(make_rows(), loss))


@pytest.mark.parametrize("weights", ["", "divided "])
def test_two_processes_in_bfloat16(both: Any, weights: str) -> None:
    alone = trainer(make_rows(), Logistic(), precision="bfloat16")
    _same(both[2], f"{weights}bfloat16", alone, of_losses=1e-2, of_weights=3e-2)


def test_the_clipped_gradient_of_a_loss_over_the_batch_is_that_of_one_process(both: Any) -> None:
    expected = gradients()
    # clipped to a norm of 0.01; the last number is the loss
    assert expected[:-1].norm() == pytest.approx(0.01, rel=1e-3) and expected.dtype == torch.float64
    for found in both[2]:
        assert torch.allclose(found["gradients"], expected, rtol=0, atol=1e-9)


def test_responses_and_scores_are_shared_and_gathered(both: Any) -> None:
    sampling = Sampling(prompts=len(PROMPTS), max_new_tokens=12, batch_size=4, top_p=0.9)
    drawn = Transformers().sample(policy(), PROMPTS, VOCABULARY, sampling, seed=3)
    scores = torch.from_numpy(policy().score(make_rows(), 10_000))
    for found in both[2]:
        assert found["responses"] == [ids.tolist() for ids in drawn.ids]
        assert torch.allclose(found["scores"], scores, atol=1e-4)
    assert torch.equal(both[2][0]["scores"], both[2][1]["scores"])


def test_the_first_process_decides(both: Any) -> None:
    for found in both[2]:
        assert found["first"] == 10 and found["alone"] == [0, 1, 2, 3]
        assert found["everywhere"] == (True, False)


def test_a_stage_is_made_once_by_all(both: Any) -> None:
    out, _, found = both
    assert [one["stage"] for one in found] == ["3", "3"]
    assert [(out / f"made-{rank}").read_text() for rank in range(2)] == ["made\n", "made\n"]


def test_a_process_that_fails_ends_the_others_with_one_sentence(both: Any) -> None:
    out, said, _ = both
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: process 2 of 2 failed: ValueError: no memory left; saved; the same command resumes"
    )
    assert (out / "common").exists() and (out / "one").exists()


def _same(
    both: list[Any],
    name: str,
    alone: PreferenceTrainer,
    of_losses: float = 1e-5,
    of_weights: float = 1e-3,
) -> None:
    losses = torch.tensor([alone.step(np.arange(size)) for size in (13, 24, 1)])
    for found in both:
        assert torch.allclose(found[name][0], losses, atol=of_losses)
        assert torch.allclose(found[name][1], weights(alone), atol=of_weights)
    assert torch.equal(both[0][name][1], both[1][name][1])
