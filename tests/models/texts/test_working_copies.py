"""Working copies give autocast's numbers with one cast a step, and nothing else notices them."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sympo.losses import Logistic
from sympo.models.texts.classifiers import TinyReward
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.reward_models import RewardModel
from sympo.pipelines.reference import checkpoint_activations
from sympo.training.pairwise import PreferenceTrainer
from sympo.types import Vocabulary
from tests.models.texts.families import EXACT, FALLS_BACK, LONGEST, WORDS, build, gradients
from tests.models.texts.made_rows import Sides, draw
from tests.training import made_pairs

EVERY = np.arange(5)


class Casts(TorchDispatchMode):
    """Counts casts between float32 and bfloat16 of tensors shaped like weights."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.shapes = {p.shape for p in model.parameters() if p.dim() > 1}
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        out = function(*arguments, **(named or {}))
        name = function.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            source = arguments[1] if name == "copy_" else arguments[0]
            if out.shape in self.shapes and out.dtype != source.dtype:
                self.found["down" if out.dtype == torch.bfloat16 else "up"] += 1
        return out


@pytest.fixture(scope="module")
def pairs() -> Sides:
    return draw(rows=5, longest=LONGEST // 2, vocabulary=WORDS)


def both(model: Any) -> tuple[Policy, Policy]:
    """A policy with copies, and one of the same weights that autocast casts."""
    made, plain = Policy(model, "bfloat16", LONGEST), Policy(model, "bfloat16", LONGEST)
    assert made.copies is not None and not made.note.count("copies")
    plain.copies = None
    return made, plain


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2", "gpt2", "gemma3", "mixtral"])
def test_scores_and_gradients_are_autocasts(family: str, pairs: Sides) -> None:
    made, plain = both(build(*EXACT[family]))
    rows = PackedRows(*pairs)
    found, expected = made.scores(rows, EVERY), plain.scores(rows, EVERY)
    assert torch.equal(found, expected)
    found_gradients = gradients(made.model, found)
    head = made.model.get_output_embeddings().weight
    for name, expected_gradient in gradients(plain.model, expected).items():
        gradient = found_gradients.pop(name)
        assert gradient.dtype == torch.float32
        if made.model.get_parameter(name) is head:  # autocast rounds the head's to bfloat16
            assert torch.allclose(gradient, expected_gradient, rtol=2**-8, atol=1e-2)
        else:
            assert torch.equal(gradient, expected_gradient), name
    assert not found_gradients


def test_families_that_fall_back(pairs: Sides) -> None:
    made, plain = both(build(*FALLS_BACK["gemma2"]))
    assert not made.exact
    rows = PackedRows(*pairs)
    found, expected = made.scores(rows, EVERY), plain.scores(rows, EVERY)
    assert torch.equal(found, expected)
    expected_gradients = gradients(plain.model, expected)
    for name, gradient in gradients(made.model, found).items():
        assert torch.equal(gradient, expected_gradients[name]), name


def test_the_gradient_of_a_tied_head_is_more_exact(pairs: Sides) -> None:
    """Several passes, against float64: the head's part is not rounded to bfloat16."""
    made, plain = both(build(*EXACT["llama-tied"]))
    rows = PackedRows(*pairs)
    # one weight's gradient is compared, with the hidden states that both compute
    exact = build(*EXACT["llama-tied"])
    errors = []
    for policy in (made, plain):
        exact.load_state_dict(policy.model.state_dict())
        full = Policy(exact, longest=LONGEST)
        for one in (policy, full):
            one.model.zero_grad()
            for row in EVERY:
                one.scores(rows, EVERY[row : row + 1]).sum().backward()
        name = "model.embed_tokens.weight"
        found, wanted = (one.model.get_parameter(name).grad for one in (policy, full))
        errors.append(float((found - wanted).norm() / wanted.norm()))
    assert errors[0] <= 1.02 * errors[1] and errors[1] < 0.1


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_activation_checkpointing(family: str, pairs: Sides) -> None:
    rows = PackedRows(*pairs)
    made, _ = both(build(*EXACT[family]))
    made.model.train()
    expected = gradients(made.model, made.scores(rows, EVERY))
    checkpoint_activations(made.model)
    scores = made.scores(rows, EVERY)
    with Casts(made.model) as casts:
        found = gradients(made.model, scores)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not casts.found["down"]  # passes that are repeated use the copies, too


def test_weights_are_cast_once_a_step() -> None:
    rows = made_pairs.make_rows()
    own = made_pairs.trainer(rows, Logistic(), tokens=40, precision="bfloat16")
    batch = np.arange(12)
    assert len(list(rows.batches(batch, 40))) > 3
    linear = sum(p.dim() > 1 for p in own.scorer.model.parameters())
    for step in range(2):
        with Casts(own.scorer.model) as casts:
            own.step(batch)
        # none before the first update; up are the gradients of the first pass alone, and not that
        # of the embedding, which is also the head
        assert casts.found["down"] == (linear if step else 0)
        assert casts.found["up"] == linear - 1
    with Casts(own.scorer.model) as casts:
        own.scorer.score(rows, 40)
        own.scorer.score(rows, 40)
    assert casts.found["down"] == linear


def test_copies_follow_whatever_changes_the_weights(pairs: Sides) -> None:
    rows, (made, plain) = PackedRows(*pairs), both(build(*EXACT["llama-tied"]))
    weights = {name: value.clone() for name, value in made.model.state_dict().items()}
    first = made.score(rows, 1000)
    with torch.no_grad():
        for p in made.model.parameters():
            p.mul_(0.9)
    changed = made.score(rows, 1000)
    assert not np.array_equal(changed, first)
    assert np.array_equal(changed, plain.score(rows, 1000))
    made.model.load_state_dict(weights)
    assert np.array_equal(made.score(rows, 1000), first)
    made.model.requires_grad_(False)
    assert not made.scores(rows, EVERY).requires_grad
    made.model.requires_grad_(True)
    assert len(gradients(made.model, made.scores(rows, EVERY))) == len(
        list(plain.model.parameters())
    )


@pytest.mark.parametrize("name", ["policy", "reward"])
def test_training_is_autocasts(name: str, pairs: Sides) -> None:
    """Steps with copies, saved and restored half-way, against steps that autocast casts."""
    rows = made_pairs.make_rows()

    def trainer(copies: bool) -> PreferenceTrainer:
        own = made_pairs.trainer(rows, Logistic(), tokens=40, precision="bfloat16")
        if name == "reward":
            kind = TinyReward(
                hidden_size=16, intermediate_size=24, layers=2, heads=2, max_positions=32
            )
            own.scorer = RewardModel(kind.build(Vocabulary(12, None, 10, 11), 0), "bfloat16")
            own.optimizer = type(own.optimizer)(own.scorer.model, own.recipe, own.steps)
        if not copies:
            own.scorer.copies = None
        return own

    made, plain, resumed = trainer(True), trainer(False), trainer(True)
    batch = np.arange(12)
    for one in (made, plain):
        one.step(batch)
    resumed.restore(copy.deepcopy(made.state()))
    for one in (made, plain, resumed):
        one.step(batch)
    weights = [made_pairs.weights(one) for one in (made, plain, resumed)]
    assert weights[0].dtype == torch.float32
    assert torch.equal(weights[0], weights[2])
    if name == "reward":  # whose head is not a language model's
        assert torch.equal(weights[0], weights[1])
    else:  # within Adam's steps, which are of the learning rate's size
        assert (weights[0] - weights[1]).abs().mean() < 1e-3


def test_frozen_weights_under_adapters_are_cast_once_for_good(pairs: Sides, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = build(*EXACT["llama"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules="all-linear"))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    made, plain = both(adapted)
    assert made.exact
    rows = PackedRows(*pairs)
    expected = gradients(adapted, plain.scores(rows, EVERY))
    trained = sum(p.requires_grad for p in adapted.parameters())
    with Casts(adapted) as casts:
        found = gradients(adapted, made.scores(rows, EVERY))
        made.scores(rows, EVERY)
    assert not casts.found["down"]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.mul_(0.9)
    with Casts(adapted) as casts:
        made.scores(rows, EVERY)
    assert casts.found["down"] == trained
    made.save(tmp_path)
    assert all(p.dtype == torch.float32 for p in adapted.parameters())
    kept = adapted.unload().state_dict()
    assert all(torch.equal(kept[name], value) for name, value in before.items())


def test_saved_weights_are_float32(pairs: Sides, tmp_path: Path) -> None:
    made, _ = both(build(*EXACT["llama-tied"]))
    made.scores(PackedRows(*pairs), EVERY)
    made.save(tmp_path)
    loaded = type(made.model).from_pretrained(tmp_path)
    for name, value in made.model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
        assert value.dtype == torch.float32


def test_a_model_that_refuses_copies_is_cast_by_autocast(
    pairs: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(*EXACT["llama"])
    kind = type(model.model.layers[0].mlp)
    forward = kind.forward

    def full(module: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(module, x.float())

    monkeypatch.setattr(kind, "forward", full)
    policy = Policy(model, "bfloat16", LONGEST)
    assert policy.exact and policy.copies is None
    assert policy.note.startswith("each pass casts the weights, as copies fail: RuntimeError")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert policy.scores(PackedRows(*pairs), EVERY).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_layers_take_copies_without_compiling_again(
    checkpointing: bool, pairs: Sides
) -> None:
    model = build(*EXACT["llama-tied"])
    if checkpointing:
        checkpoint_activations(model)
    policy = Policy(model, "bfloat16", LONGEST)
    rows = PackedRows(*pairs)
    policy.model.train()
    expected = gradients(model, policy.scores(rows, EVERY))
    assert policy.compile_layers(LONGEST) == ""
    for change in (1.0, 0.5, 2.0):
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(change)
        with torch._dynamo.config.patch(error_on_recompile=change != 1.0):
            scores = policy.scores(rows, EVERY)
            found = gradients(model, scores)
        policy.score(rows, 1000)
        policy.model.train()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 0.05 * gradient.norm(), name
    prompt = torch.randint(1, WORDS, (2, 5))
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    policy.generate(prompt, torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled
