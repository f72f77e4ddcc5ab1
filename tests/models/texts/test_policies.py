"""One row per pair gives what separate, unpadded forward passes give, gradients included."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sympo.models.texts import scorers, shared_prefix_attention
from sympo.models.texts.packed_rows import Group, PackedRows
from sympo.models.texts.policies import Policy
from tests.models.texts.families import (
    EXACT,
    FALLS_BACK,
    GPT2,
    GROUPED,
    LONGEST,
    WORDS,
    blind,
    build,
    gradients,
)
from tests.models.texts.made_rows import Sides, draw


def llama() -> Any:
    return build(*EXACT["llama"])


@pytest.fixture(scope="module")
def pairs() -> Sides:
    return draw(rows=5, longest=LONGEST // 2, vocabulary=WORDS)


def separate(model: Any, pairs: Sides) -> Tensor:
    """Log-probabilities of the answers by one unpadded pass for each side; (n, sides)."""
    model.eval()
    found = []
    for row in range(len(pairs[0])):
        for side in pairs:
            ids, start = torch.tensor(side.ids[row]), int(side.start[row])
            logps = torch.log_softmax(model(input_ids=ids[None]).logits[0].float(), -1)
            found.append(logps[start - 1 : -1].gather(1, ids[start:, None]).sum())
    return torch.stack(found).view(-1, len(pairs))


def assert_same(policy: Policy, pairs: Sides, training: bool = False) -> None:
    """Log-probabilities to 1e-4, gradients to 1e-4 of the largest of each tensor."""
    rows, model = PackedRows(*pairs), policy.model
    every = np.arange(len(rows))[::-1].copy()
    model.train(training)
    logps, lengths = policy.logps(rows, every)
    found = gradients(model, logps)
    policy.use_default_attention()
    expected_logps = separate(model, pairs)[every.tolist()]
    expected = gradients(model, expected_logps)
    torch.testing.assert_close(logps, expected_logps, rtol=0, atol=1e-4)
    assert lengths.tolist() == rows.lengths[every].tolist()
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = max(float(gradient.abs().max()), 1.0)
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("family", EXACT)
def test_exact_families(family: str, pairs: Sides) -> None:
    policy = Policy(build(*EXACT[family]), longest=LONGEST)
    assert policy.exact
    assert_same(policy, pairs)


@pytest.mark.parametrize("family", FALLS_BACK)
def test_families_that_fall_back(family: str, pairs: Sides) -> None:
    policy = Policy(build(*FALLS_BACK[family]), longest=LONGEST)
    assert not policy.exact
    assert policy.model.config._attn_implementation == policy.default_attention
    assert_same(policy, pairs)


def test_one_side(pairs: Sides) -> None:
    assert_same(Policy(llama(), longest=LONGEST), pairs[:1])


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["llama", "mistral-window"])
def test_compiled_layers(family: str, checkpointing: bool, pairs: Sides) -> None:
    model = build(*EXACT[family])
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(model, longest=LONGEST, compiled=True)
    assert policy.exact
    assert_same(policy, pairs, training=checkpointing)


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gpt2"])
def test_gradient_checkpointing(family: str, pairs: Sides) -> None:
    model = build(*EXACT[family])
    model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(model, longest=LONGEST)
    assert policy.exact
    assert_same(policy, pairs, training=True)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters(checkpointing: bool, pairs: Sides) -> None:
    peft = pytest.importorskip("peft")
    model = llama()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    policy = Policy(adapted, longest=LONGEST)
    assert policy.exact
    assert_same(policy, pairs, training=checkpointing)


def test_an_adapted_head_falls_back(pairs: Sides) -> None:
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(llama(), peft.LoraConfig(r=2, target_modules=["lm_head"]))
    policy = Policy(adapted, longest=LONGEST)
    assert not policy.exact
    # at first an adapter changes nothing, so the self-check cannot see it
    nn.init.normal_(adapted.get_parameter("base_model.model.lm_head.lora_B.default.weight"))
    assert_same(policy, pairs)


def test_head_that_does_more_than_a_linear_map_falls_back(pairs: Sides) -> None:
    class Scaled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 0.5 * super().forward(input)

    model = llama()
    model.set_output_embeddings(Scaled(32, WORDS, bias=False))
    policy = Policy(model, longest=LONGEST)
    assert not policy.exact
    assert_same(policy, pairs)


def test_self_check_catches_a_wrong_mask(monkeypatch: pytest.MonkeyPatch, pairs: Sides) -> None:
    monkeypatch.setattr(Group, "mask", blind(Group.mask))
    policy = Policy(llama(), longest=LONGEST)
    assert not policy.exact
    assert_same(policy, pairs)


def test_self_check_catches_a_window_that_is_ignored(
    monkeypatch: pytest.MonkeyPatch, pairs: Sides
) -> None:
    mask = shared_prefix_attention.Layout.mask
    monkeypatch.setattr(
        shared_prefix_attention.Layout, "mask", lambda layout, _: mask(layout, None)
    )
    policy = Policy(build(*EXACT["mistral-window"]), longest=LONGEST)
    assert not policy.exact
    assert_same(policy, pairs)


def test_self_check_reaches_the_longest_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that no short sequence fills is noticed if long ones may come."""
    mask = shared_prefix_attention.Layout.mask
    monkeypatch.setattr(
        shared_prefix_attention.Layout, "mask", lambda layout, _: mask(layout, None)
    )
    model = build("MistralConfig", GROUPED | {"sliding_window": 50})
    assert Policy(model, longest=40).exact
    assert not Policy(model, longest=100).exact


def test_scores_do_not_depend_on_how_rows_are_batched(pairs: Sides) -> None:
    policy, rows = Policy(llama(), longest=LONGEST), PackedRows(*pairs)
    scores = policy.score(rows, tokens=10_000)
    assert scores.shape == (5, 2) and scores.dtype == np.float64
    for tokens in (1, 60):
        np.testing.assert_allclose(policy.score(rows, tokens), scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(policy.score(rows, 60, first=3), scores[:3], rtol=0, atol=1e-4)
    with torch.no_grad():
        expected = separate(policy.model, pairs)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "mistral-window", "gpt2"])
def test_generation_is_that_of_the_model_as_it_was(family: str) -> None:
    model = build(*EXACT[family])
    prompts = torch.randint(1, WORDS, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(prompts)
    mask[0, :4] = 0
    wanted = {"input_ids": prompts, "attention_mask": mask, "max_new_tokens": 10}
    before = model.eval().generate(**wanted, do_sample=False, pad_token_id=0)
    assert Policy(model, longest=LONGEST).exact
    assert torch.equal(model.generate(**wanted, do_sample=False, pad_token_id=0), before)


def test_bfloat16_scores_in_float32(pairs: Sides) -> None:
    rows, every = PackedRows(*pairs), np.arange(5)
    half, full = Policy(llama(), "bfloat16", LONGEST), Policy(llama(), longest=LONGEST)
    logps, _ = half.logps(rows, every)
    expected, lengths = full.logps(rows, every)
    assert half.exact and logps.dtype == torch.float32
    assert not torch.equal(logps, expected)
    assert ((logps - expected).abs() / lengths).max() < 0.5
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert {g.dtype for g in gradients(half.model, logps).values()} == {torch.float32}


def test_dropout_is_off_but_for_that_of_adapters(pairs: Sides) -> None:
    model = build("GPT2Config", GPT2)
    assert any(isinstance(module, nn.Dropout) and module.p for module in model.modules())
    policy = Policy(model, longest=LONGEST)
    rows, every = PackedRows(*pairs), np.arange(5)
    model.train()
    assert torch.equal(policy.logps(rows, every)[0], policy.logps(rows, every)[0])
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5)
    adapted = peft.get_peft_model(llama(), settings)
    Policy(adapted, longest=LONGEST)
    assert {m.p for m in adapted.modules() if isinstance(m, nn.Dropout)} == {0.5}


def test_dropout_that_is_no_module_is_off_too(pairs: Sides) -> None:
    model = llama()
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    policy = Policy(model, longest=LONGEST)
    assert policy.exact
    model.train()
    rows, every = PackedRows(*pairs), np.arange(5)
    assert torch.equal(policy.logps(rows, every)[0], policy.logps(rows, every)[0])


def test_the_models_own_attention_is_given_back() -> None:
    policy = Policy(llama(), longest=LONGEST)
    assert policy.model.config._attn_implementation == shared_prefix_attention.NAME
    policy.use_default_attention()
    assert policy.model.config._attn_implementation == policy.default_attention == "sdpa"


def test_self_check_draws_the_same_pairs_and_leaves_the_generator_alone() -> None:
    model = llama()
    state = torch.get_rng_state()
    Policy(model, longest=LONGEST)
    assert torch.equal(torch.get_rng_state(), state)
    one, two = scorers.random_pairs(WORDS, 32), scorers.random_pairs(WORDS, 32)
    for a, b in zip([*one[0].ids, *one[1].ids], [*two[0].ids, *two[1].ids], strict=True):
        assert np.array_equal(a, b)
