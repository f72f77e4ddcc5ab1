import pytest
import torch
from torch import Tensor

from sympo.models.texts import token_logps as head
from sympo.models.texts.token_logps import token_logps

Made = tuple[Tensor, Tensor, Tensor | None, Tensor]


def made(dtype: torch.dtype, bias: bool, tokens: int = 11, size: int = 5, words: int = 13) -> Made:
    torch.manual_seed(0)
    hidden = torch.randn(tokens, size, dtype=dtype, requires_grad=True)
    weight = torch.randn(words, size, dtype=dtype, requires_grad=True)
    offset = torch.randn(words, dtype=dtype, requires_grad=True) if bias else None
    return hidden, weight, offset, torch.randint(words, (tokens,))


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor) -> Tensor:
    logits = torch.nn.functional.linear(hidden, weight, bias).to(
        torch.promote_types(hidden.dtype, torch.float32)
    )
    return torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0]


def gradients(found: Tensor, made: Made) -> list[Tensor]:
    torch.manual_seed(1)
    leaves = [leaf for leaf in made[:3] if leaf is not None and leaf.requires_grad]
    return list(torch.autograd.grad(found, leaves, torch.randn_like(found)))


@pytest.fixture(params=[1, 4 * 13, 4 * 13 + 12, 11 * 13, 1 << 24], ids=lambda n: f"chunk={n}")
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one token, of four (the last of which is not full), of all."""
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_are_those_of_log_softmax(dtype: torch.dtype, bias: bool) -> None:
    inputs = made(dtype, bias)
    found, expected = token_logps(*inputs), plain(*inputs)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("bias", [False, True])
def test_frozen_head(bias: bool) -> None:
    hidden, weight, offset, target = made(torch.float64, bias)
    offset = None if offset is None else offset.detach()
    inputs = (hidden, weight.detach(), offset, target)
    found, expected = token_logps(*inputs), plain(*inputs)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def test_hidden_states_may_be_frozen() -> None:
    hidden, weight, bias, target = made(torch.float64, True)
    inputs = (hidden.detach(), weight, bias, target)
    found, expected = token_logps(*inputs), plain(*inputs)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def test_values_without_gradients() -> None:
    inputs = made(torch.float32, True)
    with torch.no_grad():
        torch.testing.assert_close(token_logps(*inputs), plain(*inputs))


def test_finite_for_large_logits() -> None:
    hidden, weight, bias, target = made(torch.float32, False)
    inputs = ((1e4 * hidden).detach().requires_grad_(), weight, bias, target)
    found = token_logps(*inputs)
    assert found.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(found, inputs))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_bfloat16_autocast(frozen: bool, bias: bool) -> None:
    """Products are rounded to bfloat16, what follows is float32, and so are the gradients."""
    hidden, weight, offset, target = made(torch.float32, bias, tokens=50)
    if frozen:
        weight, offset = weight.detach(), None if offset is None else offset.detach()
    inputs = (hidden, weight, offset, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = token_logps(*inputs), plain(*inputs).float()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain(*inputs), rtol=0, atol=0.1)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    for ours, theirs in zip(
        gradients(found, inputs), gradients(plain(*inputs), inputs), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() <= 0.02 * theirs.norm()


def test_nothing_of_tokens_times_vocabulary_is_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, words, chunk = 400, 1000, 20
    monkeypatch.setattr(head, "CHUNK_ELEMENTS", chunk * words)
    inputs = made(torch.float32, False, tokens=tokens, words=words)
    with torch.profiler.profile(profile_memory=True) as profile:
        gradients(token_logps(*inputs), inputs)
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    # the gradient of the weight is the largest thing beside a chunk of logits
    assert 4 * chunk * words <= largest < 4 * tokens * words / 4
