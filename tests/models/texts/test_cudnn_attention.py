"""cuDNN's attention is off wherever shapes change, and as it was before everywhere else."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sympo.models.texts.cudnn_attention import without_cudnn_attention
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.pipelines.reference import checkpoint_activations
from tests.models.texts.families import EXACT, LONGEST, WORDS, build
from tests.models.texts.made_rows import draw


def enabled() -> bool:
    found: bool = torch.backends.cuda.cudnn_sdp_enabled()
    return found


@pytest.fixture(params=[True, False], autouse=True)
def before(request: pytest.FixtureRequest) -> Iterator[bool]:
    """The setting of whoever calls us."""
    own = enabled()
    torch.backends.cuda.enable_cudnn_sdp(request.param)
    yield request.param
    torch.backends.cuda.enable_cudnn_sdp(own)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether cuDNN was enabled in each call of attention."""
    found: list[bool] = []
    attention: Callable[..., Tensor] = F.scaled_dot_product_attention

    def recorded(*args: Any, **settings: Any) -> Tensor:
        found.append(enabled())
        return attention(*args, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    return found


def test_it_is_restored(before: bool) -> None:
    with without_cudnn_attention():
        assert not enabled()
        with without_cudnn_attention():
            assert not enabled()
        assert not enabled()
    assert enabled() == before
    with pytest.raises(ValueError, match="inside"), without_cudnn_attention():
        raise ValueError("inside")
    assert enabled() == before


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("exact", [True, False], ids=["grouped", "padded"])
def test_training(exact: bool, checkpointing: bool, before: bool, calls: list[bool]) -> None:
    model = build(*EXACT["llama"])
    if checkpointing:
        checkpoint_activations(model)
    policy = Policy(model, longest=LONGEST)
    if not exact:
        policy.exact = False
        policy.use_default_attention()
    calls.clear()
    rows = PackedRows(*draw(rows=3, longest=LONGEST // 2, vocabulary=WORDS))
    model.train()
    scores = policy.scores(rows, np.arange(3))
    forward = len(calls)
    assert forward and enabled() == before
    scores.sum().backward()
    assert len(calls) == forward * (2 if checkpointing else 1)
    assert not any(calls) and enabled() == before


@pytest.mark.parametrize("exact", [True, False])
def test_generation(exact: bool, before: bool, calls: list[bool]) -> None:
    policy = Policy(build(*EXACT["llama"]), longest=LONGEST)
    if not exact:
        policy.use_default_attention()
    calls.clear()
    prompts = torch.randint(1, WORDS, (2, 5), generator=torch.Generator().manual_seed(0))
    policy.generate(prompts, torch.ones_like(prompts), max_new_tokens=3, pad_token_id=0)
    assert calls and not any(calls) and enabled() == before
