"""Attention of packed rows in one variable-length call is that of separate forward passes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sympo.models.texts import scorers
from sympo.models.texts.packed_rows import PackedBatch, PackedRows
from sympo.models.texts.policies import Policy
from sympo.models.texts.reward_models import RewardModel
from sympo.models.texts.shared_prefix_attention import VariableLength, attend, rounding
from sympo.models.texts.varlen_attention import Sequences, flash_attention, operators, supports
from tests.models.texts.families import EXACT, LONGEST, WORDS, build, gradients
from tests.models.texts.made_rows import Sides, draw
from tests.models.texts.test_reward_models import build as build_reward
from tests.models.texts.varlen_emulation import emulate, top_left

HEADS, KEY_HEADS, SIZE = 4, 2, 8
EXACTLY: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
# of rows as (prefix, rest of the first side, rest of the second)
LAYOUTS = {
    "one side": [(5, 0, 0), (1, 0, 0), (9, 0, 0)],
    "two sides": [(5, 3, 4), (1, 1, 1), (7, 9, 2)],
    "empty first rest": [(5, 0, 4), (2, 3, 1)],
    "empty second rest": [(5, 3, 0), (2, 3, 1)],
    "both": [(4, 0, 6), (6, 0, 0), (3, 5, 0), (2, 8, 7)],
    "no prefix": [(0, 3, 4), (0, 1, 9)],
}


def batch(rows: list[tuple[int, int, int]]) -> PackedBatch:
    """Rows of these lengths; the rest of the batch is not read."""
    prefix, first, second = np.array(rows).T
    nothing: Any = torch.zeros(0)
    total = int((prefix + first + second).sum())
    ids = torch.zeros(1, total, dtype=torch.int64)
    return PackedBatch(
        ids, ids, nothing, prefix + first + second, prefix, prefix + first, scored=nothing
    )


def projections(tokens: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(1, heads, tokens, SIZE) for heads in (HEADS, KEY_HEADS, KEY_HEADS)]
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def separate(
    inputs: list[Tensor], rows: list[tuple[int, int, int]], scale: float, window: int | None
) -> Tensor:
    """Attention of each side alone, in a loop over queries; the prefix is that of the first."""
    query, key, value = (x[0].transpose(0, 1) for x in inputs)
    repeats, found, start = HEADS // KEY_HEADS, [], 0
    for prefix, first, second in rows:
        shared = list(range(start, start + prefix))
        one = list(range(start + prefix, start + prefix + first))
        two = list(range(start + prefix + first, start + prefix + first + second))
        for side, own in ((shared + one, shared + one), (shared + two, two)):
            for token in own:
                seen = side[: side.index(token) + 1][-(window or len(side)) :]
                for head in range(HEADS):
                    k, v = key[seen, head // repeats], value[seen, head // repeats]
                    found.append((scale * k @ query[token, head]).softmax(0) @ v)
        start += prefix + first + second
    return torch.stack(found).view(1, -1, HEADS, SIZE)


@pytest.mark.parametrize("window", [None, 1, 3, 6, 100])
@pytest.mark.parametrize("rows", LAYOUTS.values(), ids=LAYOUTS)
def test_equals_separate_passes(rows: list[tuple[int, int, int]], window: int | None) -> None:
    packed = batch(rows)
    inputs = projections(packed.input_ids.shape[1])
    found, _ = attend(
        torch.nn.Identity(), inputs[0], inputs[1], inputs[2], None, scaling=0.3,
        sliding_window=window, shared_prefix=VariableLength(packed, emulate),
    )  # fmt: skip
    expected = separate(inputs, rows, 0.3, window)
    torch.testing.assert_close(found, expected, **EXACTLY)
    direction = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, direction),
        torch.autograd.grad(expected, inputs, direction),
        **EXACTLY,
    )


def test_one_side_needs_no_copies() -> None:
    made = Sequences.of(batch(LAYOUTS["one side"]))
    assert made.keys is None and made.cum_seq_k is made.cum_seq_q
    assert made.cum_seq_q.tolist() == [0, 5, 6, 15] and made.max_q == made.max_k == 9


def test_the_arguments_of_a_batch() -> None:
    made = Sequences.of(batch([(2, 1, 2), (1, 2, 1)]))
    assert made.cum_seq_q.tolist() == [0, 3, 5, 8, 9]
    assert made.cum_seq_k.tolist() == [0, 3, 7, 10, 12]
    assert made.keys is not None
    assert made.keys.tolist() == [0, 1, 2, 0, 1, 3, 4, 5, 6, 7, 5, 8]
    assert (made.max_q, made.max_k) == (3, 4)


def float64(model: Any) -> Any:
    """The model in float64, without the float32 arithmetic that `transformers` has in its norms."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(_norm, module)
    return model.double()


def _norm(module: Any, x: Tensor) -> Tensor:
    scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + module.variance_epsilon)
    return module.weight * scaled


def assert_exact(
    scorer: Policy | RewardModel, sides: Sides, alone: Callable[[Any, Sides], Tensor]
) -> None:
    rows, model = PackedRows(*sides), scorer.model
    seen: list[tuple[int, int]] = []

    def recorded(*args: Any, window_size: tuple[int, int], **settings: Any) -> Tensor:
        seen.append(window_size)
        return emulate(*args, window_size=window_size, **settings)

    scorer.layout = partial(VariableLength, operator=recorded)
    scores = scorer.scores(rows, np.arange(len(rows)))
    assert scores.dtype == torch.float64 and seen
    found = gradients(model, scores)
    window = getattr(model.config, "sliding_window", None)
    assert set(seen) == {(-1 if window is None else window - 1, 0)}
    scorer.use_default_attention()
    own = alone(model, sides)
    torch.testing.assert_close(scores, own, **EXACTLY)
    expected = gradients(model, own)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        largest = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12 * largest, msg=name)


def logps(model: Any, sides: Sides) -> Tensor:
    found = []
    for row in range(len(sides[0])):
        for side in sides:
            ids, start = torch.tensor(side.ids[row]), int(side.start[row])
            own = torch.log_softmax(model(input_ids=ids[None]).logits[0], -1)
            found.append(own[start - 1 : -1].gather(1, ids[start:, None]).sum())
    return torch.stack(found).view(-1, len(sides))


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["llama", "mistral-window"])
def test_a_whole_policy_in_float64(family: str, checkpointing: bool, sides: int) -> None:
    model = build(*EXACT[family])
    policy = Policy(model, longest=LONGEST)
    float64(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert_exact(policy, draw(rows=5, longest=LONGEST // 2, vocabulary=WORDS)[:sides], logps)


@pytest.mark.parametrize("family", ["llama", "mistral-window"])
def test_a_whole_reward_model_in_float64(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_reward(*EXACT[family])
    rewards = RewardModel(model, longest=LONGEST)
    float64(model)
    # heads are in float32 otherwise
    monkeypatch.setattr(Tensor, "float", Tensor.double)

    def alone(model: Any, sides: Sides) -> Tensor:
        texts = [torch.tensor(s.ids[row])[None] for row in range(len(s0.ids)) for s in sides]
        own = [model(input_ids=x, attention_mask=torch.ones_like(x)).logits for x in texts]
        return torch.cat(own).view(-1, len(sides))

    s0, s1 = draw(rows=5, longest=LONGEST // 2, vocabulary=WORDS)
    assert_exact(rewards, [s0, s1], alone)


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes these the operators, on CPU too."""

    def force(*found: Any) -> None:
        monkeypatch.setattr(scorers, "supports", lambda device, dtype: dtype is not None)
        monkeypatch.setattr(scorers, "operators", lambda: list(found))

    return force


def in_use(policy: Policy) -> Any:
    return getattr(policy.layout, "keywords", {}).get("operator")


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral-window", "gpt2"])
def test_the_self_check_accepts_rounding(family: str, forced: Callable[..., None]) -> None:
    forced(emulate)
    policy = Policy(build(*EXACT[family]), "bfloat16", LONGEST)
    assert policy.exact and in_use(policy) is emulate and policy.note == ""
    pairs = draw(rows=5, longest=LONGEST // 2, vocabulary=WORDS)
    rows, every = PackedRows(*pairs), np.arange(5)
    scores, lengths = policy.logps(rows, every)
    policy.model.train()
    assert {g.dtype for g in gradients(policy.model, scores).values()} == {torch.float32}
    expected = Policy(policy.model, "bfloat16", LONGEST, "grouped").logps(rows, every)[0]
    assert ((scores - expected).abs() / lengths).max() < 0.5


def unwindowed(*args: Any, window_size: object, **settings: Any) -> Tensor:
    return emulate(*args, window_size=(-1, 0), **settings)


def without_backward(*args: Any, **settings: Any) -> Tensor:
    return emulate(*(x.detach() if isinstance(x, Tensor) else x for x in args), **settings)


class WrongBackward(torch.autograd.Function):
    """The right output with the derivative of attention without a window."""

    @staticmethod
    def forward(ctx: Any, right: Tensor, other: Tensor) -> Tensor:
        return right.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Any:
        return None, gradient[0]


def wrong_backward(*args: Any, **settings: Any) -> Tensor:
    found: Tensor = WrongBackward.apply(emulate(*args, **settings), unwindowed(*args, **settings))
    return found


def missing(*args: Any, **settings: Any) -> Tensor:
    raise RuntimeError("no kernel\nfor this card")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (top_left, "an output is off by"),
        (unwindowed, "an output is off by"),
        (wrong_backward, "a gradient is off by"),
        (without_backward, "does not require grad"),
        (missing, "RuntimeError: no kernel for this card"),
    ],
)
def test_the_self_check_refuses(wrong: Any, reason: str, forced: Callable[..., None]) -> None:
    forced(wrong)
    policy = Policy(build(*EXACT["mistral-window"]), "bfloat16", LONGEST)
    assert policy.exact and in_use(policy) is None
    assert policy.note.startswith("packed rows attend in groups") and reason in policy.note
    assert "\n" not in policy.note
    forced(wrong, emulate)  # the next operator gets its turn
    policy = Policy(build(*EXACT["mistral-window"]), "bfloat16", LONGEST)
    assert in_use(policy) is emulate and policy.note == ""


def test_a_torch_without_operators(forced: Callable[..., None]) -> None:
    forced()
    policy = Policy(build(*EXACT["llama"]), "bfloat16", LONGEST)
    assert in_use(policy) is None and "this torch has no operator for it" in policy.note


def test_padded_rows_come_last(forced: Callable[..., None]) -> None:
    forced(emulate)
    policy = Policy(build("Gemma2Config", dict(EXACT["gemma"][1])), "bfloat16", LONGEST)
    assert not policy.exact and "its own row" in policy.note


@pytest.mark.parametrize("setting", [{"attention": "grouped"}, {"precision": "float32"}])
def test_grouped_where_asked_for_and_in_float32(
    setting: dict[str, str], forced: Callable[..., None]
) -> None:
    forced(missing)
    settings: dict[str, Any] = {"precision": "bfloat16", "longest": LONGEST} | setting
    policy = Policy(build(*EXACT["llama"]), **settings)
    assert policy.exact and in_use(policy) is None and policy.note == ""


def test_where_it_is_supported() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert supports(cuda, torch.bfloat16) and supports(cuda, torch.float16)
    assert not supports(cuda, None) and not supports(cuda, torch.float32)
    assert not supports(cpu, torch.bfloat16)


def test_the_bound_holds_for_rounding_alone() -> None:
    """The largest error is most of the bound that rounding leaves, and none is beyond it."""
    rows = [(40, 20, 30), (10, 60, 5)]
    packed = batch(rows)
    inputs = projections(165, torch.bfloat16)
    exact = separate([x.detach().double() for x in inputs], rows, 0.3, None)
    q, k, v = (x.detach().double() for x in inputs)
    size = separate([q, k, v.abs()], rows, 0.3, None)
    found = VariableLength(packed, emulate).attend(inputs[0], inputs[1], inputs[2], 0.3, (-1, 0))
    share = ((found - exact).abs() / rounding(torch.bfloat16, size, 2)).max()
    assert 0.1 < share < 0.6


@pytest.mark.parametrize("window_size", [(-1, 0), (2, 0)])
def test_torchs_operators_take_the_arguments(window_size: tuple[int, int]) -> None:
    """Their shapes, names and derivatives, on tensors without content."""
    made = Sequences.of(batch(LAYOUTS["two sides"]))
    assert made.keys is not None
    sizes = (len(made.keys), KEY_HEADS, SIZE)
    of_torch = operators()
    assert flash_attention in of_torch
    for operator in of_torch:
        query, key, value = (
            torch.empty(size, dtype=torch.bfloat16, device="meta", requires_grad=True)
            for size in ((33, HEADS, SIZE), sizes, sizes)
        )
        found = operator(
            query, key, value, made.cum_seq_q.to("meta"), made.cum_seq_k.to("meta"),
            made.max_q, made.max_k, scale=0.3, window_size=window_size,
        )  # fmt: skip
        assert found.shape == query.shape and found.dtype == torch.bfloat16
        own = torch.autograd.grad(found, (query, key, value), torch.empty_like(found))
        assert [x.shape for x in own] == [query.shape, key.shape, value.shape]


def as_torch_has_it(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int,
    max_k: int, *, scale: float | None = None, window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """The emulation with the names of `varlen_attn`."""
    assert enable_gqa
    args = (query, key, value, cu_seq_q, cu_seq_k, max_q, max_k)
    return emulate(*args, scale=scale, window_size=window_size)


def as_aten_has_it(*args: Any, **settings: Any) -> tuple[Tensor, ...]:
    """The emulation with the names of the operator's schema."""
    schema = torch.ops.aten._flash_attention_forward.default._schema
    given = dict(zip([one.name for one in schema.arguments], args, strict=False)) | settings
    assert given["dropout_p"] == 0 and given["return_debug_mask"] is False
    window_size = (given["window_size_left"], given["window_size_right"])
    assert given["is_causal"] == (window_size == (-1, 0))
    return emulate(*args[:7], scale=given["scale"], window_size=window_size), *args[3:7]


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of torch's operators are the emulation."""
    varlen = pytest.importorskip("torch.nn.attention.varlen")
    monkeypatch.setattr(varlen, "varlen_attn", as_torch_has_it)
    default = torch.ops.aten._flash_attention_forward.default
    fake = type("Fake", (), {"__call__": staticmethod(as_aten_has_it), "default": default})
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", fake())


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("number", [0, 1], ids=["varlen_attn", "aten"])
@pytest.mark.parametrize("family", ["llama", "mistral-window"])
def test_a_whole_model_by_torchs_operators(
    family: str, number: int, forced: Callable[..., None]
) -> None:
    operator = operators()[number]
    forced(operator)
    model = build(*EXACT[family])
    policy = Policy(model, "bfloat16", LONGEST)
    assert in_use(policy) is operator and policy.note == ""
    rows, every = PackedRows(*draw(rows=5, longest=30, vocabulary=WORDS)), np.arange(5)
    found = policy.scores(rows, every)
    policy.layout = partial(VariableLength, operator=emulate)
    expected = policy.scores(rows, every)
    assert torch.equal(found, expected)
    ours, theirs = gradients(model, found), gradients(model, expected)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.usefixtures("emulated")
def test_operators_are_chosen_by_what_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = operators()
    assert second is flash_attention
    assert isinstance(first, partial) and first.keywords == {"enable_gqa": True}
    varlen: Any = pytest.importorskip("torch.nn.attention.varlen")

    def without_windows(query: Tensor, is_causal: bool = False, scale: float = 1) -> None: ...
    def without_groups(
        query: Tensor, *, scale: float = 1, window_size: tuple[int, int] = (-1, -1)
    ) -> None: ...

    monkeypatch.setattr(varlen, "varlen_attn", without_windows)
    assert operators() == [flash_attention]
    monkeypatch.setattr(varlen, "varlen_attn", without_groups)
    first, _ = operators()
    assert isinstance(first, partial) and first.keywords == {}
    monkeypatch.delattr(varlen, "varlen_attn")
    assert operators() == [flash_attention]
