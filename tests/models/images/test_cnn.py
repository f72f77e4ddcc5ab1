import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sympo.models.images.cnn import CNN, StackedCNN, _kept
from sympo.types import BadInput

PAPER = CNN()
SMALL = CNN(kernel_size=3, padding=1)
SEEDS, COUNTS, SEED_OF_CELL = [0, 7], [2, 1], [0, 0, 1]


@pytest.fixture(autouse=True)
def _float64() -> object:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def plain(model: StackedCNN, cell: int, images: Tensor) -> Tensor:
    """One cell of a stack, written with PyTorch's own layers; images (N, H, W)."""
    config, p = model.config, lambda name: getattr(model, name)[cell]
    x = images.unsqueeze(1)
    for layer in ("conv1", "conv2"):
        x = F.conv2d(x, p(f"{layer}_weight"), p(f"{layer}_bias"), padding=config.padding)
        x = F.max_pool2d(F.relu(x), 2)
    x = x.flatten(1)
    for layer in ("1", "2"):
        x = F.linear(x, p(f"dense{layer}_weight"))
        names = [f"norm{layer}_{name}" for name in ("weight", "bias", "mean", "var")]
        weight, bias, mean, var = map(p, names)
        stats = (None, None) if model.training else (mean, var)
        x = F.relu(F.batch_norm(x, *stats, weight, bias, training=model.training))
    return F.linear(x, p("dense3_weight"), p("dense3_bias")).squeeze(1).clamp(-20, 20)


@pytest.fixture(params=["compiled", "tiles"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "tiles":
        monkeypatch.setattr(StackedCNN, "compiled", lambda *_: None)
    elif SMALL.build((8, 8), [0], [1]).compiled(torch.zeros(1)) is None:
        pytest.skip("there is no C++ compiler")
    return request.param


@pytest.mark.parametrize(("config", "side"), [(PAPER, 28), (SMALL, 8)], ids=["paper", "small"])
@pytest.mark.parametrize("training", [True, False])
def test_equals_plain_layers(engine: str, config: CNN, side: int, training: bool) -> None:
    torch.manual_seed(0)
    quiet = CNN(**{**vars(config), "dropout": 0.0})
    model = quiet.build((side, side), SEEDS, COUNTS)
    model(torch.randn(2, 40, side, side))  # so that the running statistics differ from 0 and 1
    model.train(training)
    images = torch.randn(2, 30, side, side)
    weights = torch.randn(30)
    for cell, seed in enumerate(SEED_OF_CELL):
        model.zero_grad()
        ours = model(images)[cell]
        (ours @ weights).backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        model.zero_grad()
        theirs = plain(model, cell, images[seed])
        (theirs @ weights).backward()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        for name, p in model.named_parameters():
            torch.testing.assert_close(p.grad, gradients[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_add_up(threads: int) -> None:
    torch.manual_seed(0)
    model, images = SMALL.build((8, 8), SEEDS, COUNTS), torch.randn(2, 37, 8, 8)
    found = []
    for count in (1, threads):
        torch.set_num_threads(count)
        model.zero_grad()
        model.passes = 0
        model(images).square().sum().backward()
        found.append([p.grad.clone() for p in model.parameters()])
    torch.set_num_threads(1)
    for one, several in zip(*found, strict=True):
        torch.testing.assert_close(one, several, rtol=0, atol=1e-10)


def test_both_engines_drop_the_same_units(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 37, 8, 8)
    one, other = (SMALL.build((8, 8), SEEDS, COUNTS) for _ in range(2))
    first = one(images)
    monkeypatch.setattr(StackedCNN, "compiled", lambda *_: None)
    second = other(images)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-12)
    weights = torch.randn_like(first)
    (first * weights).sum().backward()
    (second * weights).sum().backward()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-10)


def test_no_gradient_means_the_same_numbers(engine: str) -> None:
    torch.manual_seed(0)
    model = SMALL.build((8, 8), [0], [1]).eval()
    images = torch.randn(1, 20, 8, 8)
    with torch.no_grad():
        without = model(images)
    torch.testing.assert_close(model(images), without, rtol=0, atol=1e-12)


def test_cells_of_a_seed_start_equal_and_drop_the_same_units() -> None:
    model = SMALL.build((8, 8), SEEDS, COUNTS)
    images = torch.randn(2, 20, 8, 8)
    images[1] = images[0]
    out = model(images)
    torch.testing.assert_close(out[0], out[1], rtol=0, atol=1e-12)
    assert not torch.allclose(out[0], out[2])


def test_dropout_keeps_the_share_it_says() -> None:
    bits = torch.empty(400, 250, dtype=torch.int64)
    bits.random_(-(2**63), None, generator=torch.Generator().manual_seed(1))
    for rate in (0.0, 0.2, 0.5):
        kept = _kept(bits, rate).double()
        spread = (rate * (1 - rate) / kept.numel()) ** 0.5
        assert abs(kept.mean().item() - (1 - rate)) <= 4 * spread
        if rate:  # neighbours, cut from one draw, are independent
            together = torch.corrcoef(torch.stack([kept[:, :-1].flatten(), kept[:, 1:].flatten()]))
            assert abs(together[0, 1].item()) < 4 / kept.numel() ** 0.5


def test_dropout_is_off_in_evaluation() -> None:
    model = SMALL.build((8, 8), [0], [1])
    images = torch.randn(1, 20, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_reward_is_clamped() -> None:
    model = CNN(kernel_size=3, padding=1, clamp=0.01).build((8, 8), [0], [1])
    assert model(torch.randn(1, 50, 8, 8)).abs().max() <= 0.01
    free = CNN(kernel_size=3, padding=1, clamp=None).build((8, 8), [0], [1])
    assert free(torch.randn(1, 50, 8, 8)).abs().max() > 0.01


def test_initial_weights_follow_pytorch() -> None:
    weight = PAPER.build((28, 28), [0], [1]).get_parameter("dense1_weight")
    assert weight.shape == (1, 64, 256)
    assert weight.abs().max() <= 1 / 16
    assert weight.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.02)


def test_image_that_does_not_fit() -> None:
    with pytest.raises(BadInput, match="8x8"):
        PAPER.pooled_sizes((8, 8))


def test_scales_multiply_first_rewards_and_all_rewards() -> None:
    images = torch.randn(1, 20, 8, 8)
    plain_model, first, every = (
        CNN(kernel_size=3, padding=1, dropout=0.0, **scale).build((8, 8), [0], [1])
        for scale in ({}, {"initial_scale": 0.1}, {"reward_scale": 3.0})
    )
    torch.testing.assert_close(first(images), 0.1 * plain_model(images))
    torch.testing.assert_close(every(images), 3 * plain_model(images))
    torch.testing.assert_close(every.dense3_weight, plain_model.dense3_weight)
