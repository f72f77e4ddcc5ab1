"""Policies that are sampled together give the responses that `transformers` draws from each."""

from typing import Any

import numpy as np
import pytest
import torch

from sympo.models.texts.language_models import TinyLM
from sympo.models.texts.llama_shape import LlamaShape
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.stacked_llama import StackedLlama
from sympo.sampling import Sampling, Transformers
from sympo.sampling.stacked import sample_stacked
from sympo.types import Vocabulary

VOCABULARY = Vocabulary(size=8, bos=None, eos=6, pad=7)


@pytest.fixture(scope="module")
def policies() -> list[Policy]:
    settings = TinyLM(hidden_size=16, intermediate_size=24, layers=2, heads=2, max_positions=64)
    made = []
    for seed in range(3):
        built = settings.build(VOCABULARY, seed)
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            for parameter in built.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            # the last one ends its responses soon, and leaves its generator at another place
            if seed == 2:
                built.get_input_embeddings().weight[VOCABULARY.eos] *= 3
        made.append(Policy(built))
    return made


def stacked(policies: list[Policy]) -> StackedLlama:
    weights = [StackedLlama.of(policy.model, 1).weights.detach() for policy in policies]
    return StackedLlama(LlamaShape.of(policies[0].model.config), torch.cat(weights))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0, "top_p": 1.0, "batch_size": 64},
        {"temperature": 0.7, "top_p": 0.9, "batch_size": 64},
        {"temperature": 1.3, "top_p": 1.0, "batch_size": 7},
    ],
    ids=["exact", "warped", "batches"],
)
def test_draws_are_those_of_transformers(policies: list[Policy], settings: dict[str, Any]) -> None:
    draw = np.random.default_rng(0)
    prompts = [draw.integers(0, 6, draw.integers(1, 6)) for _ in range(40)]
    sampling = Sampling(prompts=40, max_new_tokens=12, **settings)
    found = sample_stacked(stacked(policies), prompts, VOCABULARY, sampling, 3)
    ends = []
    for policy, drawn in zip(policies, found, strict=True):
        expected = Transformers().sample(policy, prompts, VOCABULARY, sampling, 3)
        for mine, theirs in zip(drawn.responses.ids, expected.ids, strict=True):
            assert np.array_equal(mine, theirs)
        assert np.array_equal(drawn.responses.truncated, expected.truncated)
        rows = PackedRows(drawn.responses.after(prompts))
        assert drawn.logps == pytest.approx(policy.score(rows, 4096)[:, 0], abs=1e-4)
        ends.append(int(drawn.responses.lengths.max()))
    assert len(set(map(bytes, (np.concatenate(d.responses.ids) for d in found)))) == 3
    assert ends[2] <= min(ends[:2])


def test_cells_do_not_affect_each_other(policies: list[Policy]) -> None:
    prompts = [np.array([i % 6, 1, 2]) for i in range(16)]
    sampling = Sampling(prompts=16, temperature=1, top_p=1, max_new_tokens=8, batch_size=5)
    together = sample_stacked(stacked(policies), prompts, VOCABULARY, sampling, 0)
    for policy, drawn in zip(policies, together, strict=True):
        (alone,) = sample_stacked(stacked([policy]), prompts, VOCABULARY, sampling, 0)
        assert np.array_equal(alone.logps, drawn.logps)
        assert all(map(np.array_equal, alone.responses.ids, drawn.responses.ids))
