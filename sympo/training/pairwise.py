"""Preference training of a scorer: margins from its scores, a loss of the margin, a step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sympo.losses import MarginLoss
from sympo.margins import Margin
from sympo.models.texts.packed_rows import send
from sympo.models.texts.scorers import Scorer, Splittable
from sympo.training import processes
from sympo.training.optimizer import Optimizer, Recipe, batches


class Diverged(RuntimeError):
    """A loss is no longer a finite number."""


@dataclass(frozen=True)
class Objective:
    """The loss of one pair, from the scores of its two answers.

    z = y (r(chosen) - r(rejected)) - target, with the rewards r of the margin.
    """

    margin: Margin
    loss: MarginLoss

    def margins(
        self, scores: Tensor, reference: Tensor | None, lengths: Tensor, label: Tensor
    ) -> Tensor:
        """z of each pair; scores, reference, lengths: (n, 2), label: (n,) -> (n,)."""
        rewards = self.margin.clipped(self.margin.rewards(scores, reference, lengths))
        return label * (rewards[:, 0] - rewards[:, 1]) - self.margin.target


class PreferenceTrainer:
    """Trains a scorer, a policy or a reward model, on pairs with labels.

    rows: of two sides, chosen and rejected; labels: (n,) +1, or -1 where the label is flipped.
    reference: (n, 2) scores of the answers by the reference policy, None for margins that need
        none. tokens: that pass through the model at a time.

    A loss that weighs the pairs of a batch (Dr.DPO) is trained by sum w grad l / sum w over all of
    a step, in however many passes and by however many processes of a `torch.distributed` group it
    is computed; w is divided by the largest one so far, so that not all can underflow.
    """

    def __init__(
        self,
        scorer: Scorer,
        rows: Splittable,
        labels: np.ndarray,
        reference: np.ndarray | None,
        objective: Objective,
        recipe: Recipe,
        seed: int,
        tokens: int,
    ) -> None:
        self.scorer, self.rows, self.objective, self.recipe = scorer, rows, objective, recipe
        self.seed, self.tokens = seed, tokens
        self.labels, self.lengths = self._tensor(labels), self._tensor(rows.lengths)
        self.reference = None if reference is None else self._tensor(reference)
        self.steps_per_epoch = recipe.steps_per_epoch(len(rows))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.optimizer = Optimizer(scorer.model, recipe, self.steps)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32).to(self.scorer.device)

    @property
    def done(self) -> int:
        """Steps taken."""
        return self.optimizer.done

    def train(self, on_step: Callable[[float], None]) -> None:
        """Take the steps that are left; on_step(loss of the step) after each."""
        for batch in batches(len(self.rows), self.recipe, self.seed, "preferences", self.done):
            self.scorer.model.train()
            loss = self.step(batch)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the training loss of {self.objective.loss} is {loss} at step {self.done}; a "
                    "lower job.learning_rate may help"
                )
            on_step(loss)

    def step(self, batch: np.ndarray) -> float:
        """One update on the pairs `batch`; the reduced loss as it was before."""
        loss, parameters = self.objective.loss, self.optimizer.parameters
        largest, total, seen = -math.inf, 0.0, [torch.empty(0, device=self.scorer.device)]
        own = processes.share(batch)
        # by length, so that the rows of a pass attend in few groups; a step's sums have no order
        own = own[np.argsort(self.rows.tokens[own], kind="stable")]
        for part in self.rows.batches(own, self.tokens):
            index = send(self.scorer.device, part)
            scores = self.scorer.scores(self.rows, part)
            reference = None if self.reference is None else self.reference[index]
            lengths, labels = self.lengths[index], self.labels[index]
            losses = loss(self.objective.margins(scores, reference, lengths, labels))
            log_weights = loss.log_weight(losses.detach())
            before, largest = largest, max(largest, float(log_weights.max()))
            processes.rescale(parameters, math.exp(before - largest))
            total *= math.exp(before - largest)
            weights = torch.exp(log_weights - largest)
            # before the backward pass: a GPU computes it while the next rows are packed
            total += float(weights.sum())
            (weights * losses).sum().backward()
            seen.append(losses.detach())
        self.optimizer.step(processes.add_up(parameters, largest, total))
        return float(loss.reduce(processes.gather(torch.cat(seen))))

    def state(self) -> dict[str, Any]:
        """All that the steps left depend on."""
        model = self.scorer.model
        weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        device = self.scorer.device
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return {
            "weights": weights,
            "optimizer": self.optimizer.state(),
            "rng": torch.get_rng_state(),
            "cuda_rng": cuda,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        for name, parameter in self.scorer.model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state["weights"][name])
        self.optimizer.restore(state["optimizer"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.scorer.device)
