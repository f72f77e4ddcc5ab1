"""Generation in half precision is autocast's bit for bit, with the weights and caches cast once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sympo.models.texts.policies import Policy
from tests.models.texts.families import EXACT, FALLS_BACK, build

NEW = 10
SETTINGS: dict[str, Any] = {
    "do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 0, "max_new_tokens": NEW,
    "eos_token_id": 10**9, "pad_token_id": 0,
}  # fmt: skip
HALF = torch.bfloat16


class Casts(TorchDispatchMode):
    """Counts the numbers that are cast from float32 to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, function: Any, kinds: Any, inputs: Any = (), more: Any = None
    ) -> Any:
        out = function(*inputs, **(more or {}))
        if function is torch.ops.aten._to_copy.default and inputs[0].dtype == torch.float32:
            self.numbers += out.numel() * (out.dtype == HALF)
        return out


@pytest.fixture
def prompts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 20, (4, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    return ids, mask


@contextmanager
def as_transformers_does(policy: Policy) -> Iterator[None]:
    """Generate without our caches and copies of the weights."""
    cache, policy._cache = policy._cache, lambda fixed: None  # type: ignore[method-assign]
    copies, policy.copies = policy.copies, None
    yield
    policy._cache, policy.copies = cache, copies  # type: ignore[method-assign]


def generated(policy: Policy, prompts: tuple[Tensor, Tensor], **more: Any) -> tuple[Tensor, Tensor]:
    """Drawn tokens, and the logits that they were drawn from."""
    torch.manual_seed(0)
    wanted = {**SETTINGS, "output_logits": True, "return_dict_in_generate": True, **more}
    found: Any = policy.generate(*prompts, **wanted)
    return found.sequences, torch.stack(found.logits)


@pytest.mark.parametrize("family", [*EXACT, *FALLS_BACK])
def test_half_precision_is_that_of_autocast(family: str, prompts: tuple[Tensor, Tensor]) -> None:
    policy = Policy(build(*{**EXACT, **FALLS_BACK}[family]), "bfloat16", longest=64)
    before = {name: (p, p.dtype) for name, p in policy.model.named_parameters()}
    with as_transformers_does(policy):
        ids, logits = generated(policy, prompts)
    own_ids, own_logits = generated(policy, prompts)
    assert torch.equal(own_ids, ids) and torch.equal(own_logits, logits)
    after = dict(policy.model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is p and p.dtype == kind for name, (p, kind) in before.items())


def test_adapters_too(prompts: tuple[Tensor, Tensor]) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        build(*EXACT["llama"]), peft.LoraConfig(r=2, target_modules="all-linear")
    )
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    policy = Policy(adapted, "bfloat16", longest=64)
    with as_transformers_does(policy):
        ids, logits = generated(policy, prompts)
    own_ids, own_logits = generated(policy, prompts)
    assert torch.equal(own_ids, ids) and torch.equal(own_logits, logits)


def test_weights_and_caches_are_cast_once(prompts: tuple[Tensor, Tensor]) -> None:
    model = build(*EXACT["llama"]).requires_grad_(False)
    policy = Policy(model, "bfloat16", longest=64)
    linear = [m for m in model.modules() if type(m) is torch.nn.Linear]
    weights = sum(p.numel() for module in linear for p in module.parameters())
    counts = []
    for new in (5, 10):
        with Casts() as casts:
            generated(policy, prompts, max_new_tokens=new)
        counts.append(casts.numbers)
    # a further token: activations of 4 rows, 2 layers of 32 and 64 wide, 97 logits; no weights, and
    # of the cache the new entries alone
    each = (counts[1] - counts[0]) / 5
    assert each < 4 * 2 * (10 * 32 + 3 * 64) + 4 * 97 < weights / 2
    with as_transformers_does(policy), Casts() as casts:
        generated(policy, prompts)
    assert casts.numbers > NEW * weights


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "opt"])
def test_a_fixed_cache_gives_the_same_draws(family: str, prompts: tuple[Tensor, Tensor]) -> None:
    policy = Policy(build(*EXACT[family]), longest=64)
    ids, logits = generated(policy, prompts)
    cache = policy.fixed_cache(40)
    assert cache is not None
    for _ in range(2):  # emptied before each use
        own_ids, own_logits = generated(policy, prompts, cache=cache)
        assert torch.equal(own_ids, ids)
        torch.testing.assert_close(
            own_logits, logits, rtol=0, atol=1e-4 * float(logits.abs().max())
        )
        assert policy.model.config._attn_implementation == "shared_prefix"


def test_a_compiled_step_is_one_graph_for_all_calls(prompts: tuple[Tensor, Tensor]) -> None:
    from torch._dynamo.utils import counters
    from transformers import CompileConfig

    policy = Policy(build(*EXACT["llama"]), "bfloat16", longest=64)
    ids, _ = generated(policy, prompts)
    # as on CUDA, but without a compiler behind the graph
    eager = CompileConfig(backend="eager", mode=None)
    eager._compile_all_devices = True
    counters.clear()
    for _ in range(2):
        own_ids, _ = generated(policy, prompts, cache=policy.fixed_cache(22), compile_config=eager)
        assert own_ids.shape == ids.shape
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


@pytest.mark.parametrize("family", ["mistral-window", "mamba"])
def test_models_without_a_fixed_cache(family: str) -> None:
    assert Policy(build(*{**EXACT, **FALLS_BACK}[family]), longest=64).fixed_cache(40) is None
