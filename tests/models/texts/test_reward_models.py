"""Rewards in one pass per pair equal those of the model's own forward pass over each text."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sympo.models.texts.packed_rows import Group, PackedRows
from sympo.models.texts.reward_models import RewardModel
from sympo.types import Encoded
from tests.models.texts.families import (
    EXACT,
    FALLS_BACK,
    GROUPED,
    LONGEST,
    SIZES,
    WORDS,
    blind,
    gradients,
)
from tests.models.texts.made_rows import Sides, draw

transformers = pytest.importorskip("transformers")

PADDING = 0
SHARED = ["llama", "qwen2", "qwen3", "mistral", "mistral-window", "gemma", "gpt-neox", "gpt2"]
ENCODER = SIZES | {"intermediate_size": 64}
SEPARATE = {
    "bert": ("BertConfig", ENCODER),
    "roberta": ("RobertaConfig", ENCODER),
    "gemma2": FALLS_BACK["gemma2"],
    "bloom": FALLS_BACK["bloom"],
}


def build(kind: str, settings: dict[str, Any], padding: int | None = PADDING) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**settings, num_labels=1)
    config.pad_token_id = padding
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)
    return model


def llama(padding: int | None = PADDING) -> Any:
    return build("LlamaConfig", GROUPED, padding)


@pytest.fixture(scope="module")
def pairs() -> Sides:
    return draw(rows=5, longest=LONGEST // 2, vocabulary=WORDS)


def alone(model: Any, pairs: Sides) -> Tensor:
    """Rewards by one unpadded pass for each text; (n, sides)."""
    model.eval()
    texts = [side.ids[row] for row in range(len(pairs[0])) for side in pairs]
    ids = [torch.tensor(text)[None] for text in texts]
    found = [model(input_ids=own, attention_mask=torch.ones_like(own)).logits for own in ids]
    return torch.cat(found).view(-1, len(pairs))


def assert_same(rewards: RewardModel, pairs: Sides) -> None:
    """Rewards to 1e-4, gradients to 1e-4 of the largest of each tensor."""
    rows, model = PackedRows(*pairs), rewards.model
    every = np.arange(len(rows))[::-1].copy()
    model.eval()
    scores = rewards.scores(rows, every)
    found = gradients(model, scores)
    rewards.use_default_attention()
    own = alone(model, pairs)[every.tolist()]
    expected = gradients(model, own)
    torch.testing.assert_close(scores, own, rtol=0, atol=1e-4)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = max(float(gradient.abs().max()), 1.0)
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-4 * scale, msg=name)


@pytest.mark.parametrize("family", SHARED)
def test_families_that_share_prefixes(family: str, pairs: Sides) -> None:
    rewards = RewardModel(build(*EXACT[family]), longest=LONGEST)
    assert rewards.exact
    assert_same(rewards, pairs)


@pytest.mark.parametrize("family", SEPARATE)
def test_families_that_fall_back(family: str, pairs: Sides) -> None:
    rewards = RewardModel(build(*SEPARATE[family]), longest=LONGEST)
    assert not rewards.exact
    assert rewards.model.config._attn_implementation == rewards.default_attention
    assert_same(rewards, pairs)


def test_self_check_catches_a_wrong_mask(monkeypatch: pytest.MonkeyPatch, pairs: Sides) -> None:
    monkeypatch.setattr(Group, "mask", blind(Group.mask))
    rewards = RewardModel(llama(), longest=LONGEST)
    assert not rewards.exact
    assert_same(rewards, pairs)


def ended(pairs: Sides, end: int) -> Sides:
    """The same pairs, every answer closed by a token."""
    return [Encoded([np.append(ids, end) for ids in side.ids], side.start) for side in pairs]


@pytest.mark.parametrize("exact", [True, False])
def test_texts_that_end_with_padding_are_read_as_the_model_reads_them(
    pairs: Sides, exact: bool
) -> None:
    rewards = RewardModel(llama(), longest=LONGEST)
    rewards.exact = exact
    same = [Encoded(list(side.ids), side.start) for side in pairs]
    # the second ends with three of them, of which the first two are all that its side has alone
    same[1].ids[1] = np.concatenate([same[0].ids[1][:-1], [PADDING] * 3])
    for sides in (ended(pairs, PADDING), same):
        assert_same(rewards, sides)
        rewards.model.set_attn_implementation("shared_prefix")


def test_without_a_padding_token_each_text_is_read_at_its_end(pairs: Sides) -> None:
    for sides in (pairs, ended(pairs, PADDING)):
        rewards = RewardModel(llama(padding=None), longest=LONGEST)
        assert rewards.exact
        assert_same(rewards, sides)
        rewards.exact = False
        assert_same(rewards, sides)


@pytest.mark.parametrize("exact", [True, False])
def test_adapters_and_a_whole_head(pairs: Sides, exact: bool) -> None:
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS")
    model = llama() if exact else build(*SEPARATE["bert"])
    adapted = peft.get_peft_model(model, settings)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            nn.init.normal_(weight, std=0.3)
    rewards = RewardModel(adapted, longest=LONGEST)
    assert rewards.exact == exact
    head = "score" if exact else "classifier"
    assert any(head in name and p.requires_grad for name, p in adapted.named_parameters())
    assert_same(rewards, pairs)


def test_rewards_do_not_depend_on_how_rows_are_batched(pairs: Sides) -> None:
    rewards, rows = RewardModel(llama(), longest=LONGEST), PackedRows(*pairs)
    scores = rewards.score(rows, tokens=10_000)
    assert scores.shape == (5, 2) and scores.dtype == np.float64
    for tokens in (1, 60):
        np.testing.assert_allclose(rewards.score(rows, tokens), scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(rewards.score(rows, 60, first=3), scores[:3], rtol=0, atol=1e-4)
    one_side = RewardModel(llama(), longest=LONGEST).score(PackedRows(pairs[0]), tokens=10_000)
    np.testing.assert_allclose(one_side[:, 0], scores[:, 0], rtol=0, atol=1e-4)


def test_bfloat16_gives_float32_rewards(pairs: Sides) -> None:
    rows, every = PackedRows(*pairs), np.arange(5)
    half, full = RewardModel(llama(), "bfloat16", LONGEST), RewardModel(llama(), longest=LONGEST)
    scores, expected = half.scores(rows, every), full.scores(rows, every)
    assert half.exact and scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    assert (scores - expected).abs().max() < 0.5


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt-neox"])
def test_a_saved_model_scores_padded_batches_alike(
    tmp_path: Path, pairs: Sides, family: str
) -> None:
    rewards = RewardModel(build(*EXACT[family]), longest=LONGEST)
    rewards.use_default_attention()
    rewards.model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    longest = max(map(len, pairs[0].ids))
    texts = [[*map(int, ids)] for ids in pairs[0].ids]
    ids = torch.tensor([own + [PADDING] * (longest - len(own)) for own in texts])
    mask = torch.tensor([[1] * len(own) + [0] * (longest - len(own)) for own in texts])
    with torch.no_grad():
        found = loaded(input_ids=ids, attention_mask=mask).logits[:, 0]
    expected = RewardModel(rewards.model, longest=LONGEST).score(PackedRows(*pairs), 10_000)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
