"""One read of the gradients gives the updates of dividing, clipping and AdamW one after another."""

import pytest
import torch
from torch import nn

from sympo.training.optimizer import Optimizer, Recipe

STEPS = 3


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))


def gradients(step: int, own: nn.Module) -> None:
    draw = torch.Generator().manual_seed(step)
    for p in own.parameters():
        p.grad = 64 * torch.randn(p.shape, generator=draw)


def separately(recipe: Recipe, divisor: float) -> torch.Tensor:
    """Weights after steps of the plain operators."""
    own = model()
    adam = torch.optim.AdamW(own.parameters(), lr=1.0, weight_decay=recipe.weight_decay)
    for step in range(STEPS):
        gradients(step, own)
        torch._foreach_div_([p.grad for p in own.parameters()], divisor)
        if recipe.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(own.parameters(), recipe.max_grad_norm)
        for group in adam.param_groups:
            group["lr"] = recipe.learning_rate * recipe.scale(step, STEPS)
        adam.step()
    return torch.cat([p.detach().flatten() for p in own.parameters()])


@pytest.mark.parametrize("most", [None, 0.1, 1e3], ids=lambda most: f"clipped at {most}")
@pytest.mark.parametrize("divisor", [1.0, 64.0, 3.7])
def test_division_and_clipping_inside_the_update(most: float | None, divisor: float) -> None:
    recipe = Recipe(learning_rate=0.1, warmup_steps=1, weight_decay=0.01, max_grad_norm=most)
    own = model()
    optimizer = Optimizer(own, recipe, STEPS)
    for step in range(STEPS):
        gradients(step, own)
        optimizer.step(divisor)
        assert all(p.grad is None for p in own.parameters())
    found = torch.cat([p.detach().flatten() for p in own.parameters()])
    torch.testing.assert_close(found, separately(recipe, divisor), rtol=1e-6, atol=1e-6)
    assert optimizer.state().keys() == {"adam", "done"}


def test_an_update_shows_in_the_version_of_the_weights() -> None:
    own = model()
    optimizer = Optimizer(own, Recipe(), STEPS)
    before = [p._version for p in own.parameters()]
    gradients(0, own)
    optimizer.step()
    assert all(p._version > was for p, was in zip(own.parameters(), before, strict=True))


def test_weights_without_a_gradient_stay() -> None:
    own = model()
    before = own[1].weight.clone()
    optimizer = Optimizer(own, Recipe(learning_rate=0.1), STEPS)
    optimizer.step(2.0)  # none has one
    gradients(0, own)
    own[1].weight.grad = None
    optimizer.step(2.0)
    assert torch.equal(own[1].weight, before)
