"""vLLM samples from the policy's distribution; if it is missing, nothing starts."""

import importlib.util
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch

from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.policies import Policy
from sympo.sampling import Sampling, Transformers
from sympo.sampling.vllm import VLLM, _save
from sympo.types import BadInput, Vocabulary

VOCABULARY = Vocabulary(size=6, bos=None, eos=4, pad=5)
# heads of 32, which every attention kernel of vLLM takes
TINY = TinyLM(
    hidden_size=64, intermediate_size=96, layers=2, heads=2, max_positions=32, lora_rank=2
)
SAMPLING = Sampling(prompts=8, temperature=1.0, top_p=1.0, max_new_tokens=6, batch_size=4096)
EAGER = VLLM(gpu_memory_utilization=0.1, dtype=None, enforce_eager=True)


def draw_weights(model: torch.nn.Module, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)


def policy() -> Policy:
    """A policy with nonzero adapters, and generation settings that must be ignored."""
    model = TINY.adapt(TINY.build(VOCABULARY, 0), 0)
    draw_weights(model, 0)
    own = model.get_base_model().generation_config
    own.repetition_penalty, own.eos_token_id = 5.0, [0, 1, 2]
    return Policy(model.to("cuda" if torch.cuda.is_available() else "cpu"))


@pytest.mark.skipif(
    importlib.util.find_spec("vllm") is not None, reason="vLLM is installed, so nothing is refused"
)
def test_missing_vllm_is_said_with_the_command() -> None:
    with pytest.raises(BadInput, match=r"sampler=vllm .* pip install -e '\.\[vllm\]'"):
        EAGER.check("cpu")


def test_second_gpu_is_refused() -> None:
    with pytest.raises(BadInput, match=r"device=cuda:1 .* CUDA_VISIBLE_DEVICES=1 and device=cuda"):
        EAGER.check("cuda:1")


@pytest.mark.parametrize(
    "changes",
    [{"gpu_memory_utilization": 0.0}, {"gpu_memory_utilization": 1.1}, {"dtype": "int8"}],
)
def test_bad_settings(changes: dict[str, object]) -> None:
    settings = {"gpu_memory_utilization": 0.3, "dtype": None, "enforce_eager": False}
    with pytest.raises(BadInput, match=f"^{next(iter(changes))}="):
        VLLM(**{**settings, **changes})  # type: ignore[arg-type]


def test_saved_weights_answer_as_the_policy_and_leave_it_untouched(tmp_path: Path) -> None:
    trained = policy()
    before = {name: weight.clone() for name, weight in trained.model.state_dict().items()}
    _save(trained, str(tmp_path))
    after = trained.model.state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    ids = torch.tensor([[0, 1, 2, 3]], device=trained.device)
    loaded = TINY.load(tmp_path).to(trained.device)
    with torch.no_grad():
        expected, without = trained.model(ids).logits, TINY.build(VOCABULARY, 0)
        draw_weights(without, 0)
        assert (loaded(ids).logits - expected).abs().max() < 1e-4
        assert (without.to(trained.device)(ids).logits - expected).abs().max() > 1e-2


@pytest.mark.slow
def test_greedy_answers_are_those_of_transformers() -> None:
    pytest.importorskip("vllm")
    trained, draw = policy(), np.random.default_rng(0)
    prompts = [draw.integers(0, 4, size) for size in (1, 2, 3, 5, 8, 13) * 4]
    expected, found = (
        sampler.sample(trained, prompts, VOCABULARY, SAMPLING, 0, top_p=1e-6)
        for sampler in (Transformers(), EAGER)
    )
    assert all(np.array_equal(a, b) for a, b in zip(found.ids, expected.ids, strict=True))
    assert np.array_equal(found.truncated, expected.truncated)
    assert 0 < found.truncated.mean() < 1
    # the engine's process, and with it the GPU memory that it held, is gone
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_draws_follow_the_model_and_the_seed() -> None:
    pytest.importorskip("vllm")
    trained, prompts = policy(), [np.array([0, 1, 2])] * 4000
    one, again, other = (
        EAGER.sample(trained, prompts, VOCABULARY, SAMPLING, seed) for seed in (0, 0, 1)
    )
    with torch.no_grad():
        logits = trained.model(torch.tensor([[0, 1, 2]], device=trained.device)).logits
    expected = logits[0, -1].softmax(-1).cpu().numpy()
    first = np.bincount([ids[0] for ids in one.ids], minlength=6) / 4000
    assert np.abs(first - expected).max() < 4 * 0.5 / np.sqrt(4000)
    for ids, truncated in zip(one.ids, one.truncated, strict=True):
        assert (ids[-1] == 4) != truncated
        assert (ids[:-1] != 4).all() and 1 <= len(ids) <= 6
    same, different = (
        np.mean([np.array_equal(a, b) for a, b in zip(one.ids, own.ids, strict=True)])
        for own in (again, other)
    )
    assert same == 1 and different < 0.5
