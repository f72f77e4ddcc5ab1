"""Trains a scorer of texts on pairs: scores, margins, a loss of the margins, a step."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sympo import seeding
from sympo.distributed import processes, sums
from sympo.distributed.level import leveled
from sympo.models.texts.packed_rows import send
from sympo.objective import Objective, among_weighted
from sympo.protocols.models import Scorer, Splittable
from sympo.training.diverged import Diverged
from sympo.training.optimizer import Optimizer, Recipe, batches
from sympo.training.passes import Passes, RandomState, random_state, set_random_state

# of a step; smaller sums are those of a step without weight
LEAST_WEIGHT = 1e-30


class PreferenceTrainer:
    """Trains a scorer, a policy or a reward model, on pairs with labels.

    rows: of two sides, chosen and rejected; labels: (n,) +1, or -1 if the label is flipped.
    reference: (n, 2) scores of the answers by the reference policy, None for margins without one.
    tokens: that pass through the model at a time. note: shows a message. weight, probability: (n,),
        as `NoisyPairs` has them; None for pairs that count alike, with labels taken as right.

    A loss that weights the pairs of a batch (Dr. DPO) is trained by sum w grad l / sum w over a
    whole step, however many passes and processes of a `torch.distributed` group compute it; w is
    divided by the largest one so far, so that not all of them can underflow.
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
        note: Callable[[str], None] = print,
        weight: np.ndarray | None = None,
        probability: np.ndarray | None = None,
    ) -> None:
        self.scorer, self.rows, self.objective, self.recipe = scorer, rows, objective, recipe
        self.seed = seed
        self.labels, self.lengths = self._tensor(labels), self._tensor(rows.lengths)
        self.reference, self.weight, self.probability = (
            None if column is None else self._tensor(column)
            for column in (reference, weight, probability)
        )
        self.steps_per_epoch = recipe.steps_per_epoch(len(rows))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.optimizer = Optimizer(scorer.model, recipe, self.steps, scorer.divided)
        longest = int(rows.tokens.max())
        self.passes = Passes(
            tokens, longest, scorer.device, note, self.optimizer.discard, scorer.divided
        )

        # held while weights and moments change; whether that was interrupted
        self.changing, self.torn = Lock(), False
        on_gpu = scorer.device.type == "cuda"
        self.updated = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        # the random state after the last step
        self.random: RandomState | None = None

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32).to(self.scorer.device)

    @property
    def done(self) -> int:
        """Steps taken."""
        return self.optimizer.done

    def train(self, on_step: Callable[[float], None], steps: int | None = None) -> None:
        """Take the remaining steps, or so many of them; on_step(loss of the step) after each."""
        self.random = random_state(self.scorer.device)
        left = batches(len(self.rows), self.recipe, self.seed, "preferences", self.done)
        for batch in islice(left, steps):
            self.scorer.model.train()
            loss = self.step(batch)
            if not math.isfinite(loss):
                raise Diverged(
                    f"the training loss of {self.objective.loss} is {loss} at step {self.done}; a "
                    "lower learning rate may help"
                )
            on_step(loss)

    def step(self, batch: np.ndarray) -> float:
        """One update on the pairs `batch`; returns the reduced loss before it."""
        own = processes.share(batch)
        # by length, so that the rows of a pass attend in few groups; a step's sums have no order
        own = own[np.argsort(self.rows.tokens[own], kind="stable")]
        largest, total, seen = self.passes.run(lambda tokens: self._add_gradients(own, tokens))
        total = sums.add_up(self.optimizer.parameters, largest, total, self.scorer.divided)
        losses = sums.gather(torch.cat(seen))
        weight = None
        if self.weight is not None:
            weight = sums.gather(self.weight[send(self.scorer.device, own)])
        self._update(max(total, LEAST_WEIGHT))  # of a step without weight: gradient 0
        return float(self.objective.reduced(losses, weight))

    def _update(self, divisor: float) -> None:
        with self.changing:
            self.torn = True
            self.optimizer.step(divisor)
            self.random = random_state(self.scorer.device)
            if self.updated is not None:
                self.updated.record()
            self.torn = False

    def _add_gradients(self, rows: np.ndarray, tokens: int) -> tuple[float, float, list[Tensor]]:
        """Add the gradients of rows, in units of the largest weight; returns its logarithm, the
        total weight in its units, and the losses of each pass."""
        objective, parameters = self.objective, self.optimizer.parameters
        largest, total, seen = -math.inf, 0.0, [torch.empty(0, device=self.scorer.device)]
        divided = self.scorer.divided
        for part, counts in leveled(self.rows.batches(rows, tokens), divided):
            index = send(self.scorer.device, part)
            scores = self.scorer.scores(self.rows, part)
            reference, weight, probability = (
                None if column is None else column[index]
                for column in (self.reference, self.weight, self.probability)
            )
            lengths, labels = self.lengths[index], self.labels[index]
            z = objective.z_of_scores(scores, reference, lengths, labels)
            soft = probability is not None
            opposite = objective.z_of_scores(scores, reference, lengths, -labels) if soft else None
            losses = objective.of_margins(z, opposite, probability, weight)
            log_weights = objective.log_weights(losses.detach())
            if weight is not None:
                log_weights = among_weighted(log_weights, weight)
            top = float(log_weights.max()) if counts else -math.inf
            if divided:  # gradients are summed over processes in every pass
                top = sums.largest(top, self.scorer.device)
            before, largest = largest, max(largest, top)
            sums.rescale(parameters, math.exp(before - largest))
            total *= math.exp(before - largest)
            weights = torch.exp(log_weights - largest) if counts else torch.zeros_like(losses)
            if weight is not None:
                weights = weights * weight
            # before the backward pass: a GPU computes it while the next rows are packed
            total += float(weights.sum())
            torch.autograd.backward((weights * losses).sum())
            if counts:
                seen.append(losses.detach())
        return largest, total, seen

    def weigh(self, weight: np.ndarray) -> None:
        """Replace the weights of the pairs, (n,)."""
        self.weight = self._tensor(weight)

    def soften(self, probability: np.ndarray) -> None:
        """Replace the probabilities that the labels of the pairs are right, (n,)."""
        self.probability = self._tensor(probability)

    def state(self) -> dict[str, Any]:
        """Everything that the remaining steps depend on."""
        model = self.scorer.model
        weights = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
        cpu, cuda = self._random
        return {
            "weights": weights,
            "optimizer": self.optimizer.state(),
            "rng": cpu,
            "cuda_rng": cuda,
        }

    def progress(self) -> dict[str, Any]:
        """What the remaining steps depend on besides weights and moments."""
        cpu, cuda = self._random
        return {"done": self.done, "rng": cpu, "cuda_rng": cuda}

    @property
    def _random(self) -> RandomState:
        return self.random or random_state(self.scorer.device)

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Read weights and moments of a GPU inside the context, although it may be waiting for
        another process."""
        if self.updated is None:
            yield
            return
        beside = torch.cuda.Stream(self.scorer.device)  # type: ignore[no-untyped-call]
        beside.wait_event(self.updated)
        with torch.cuda.stream(beside):
            yield

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a `state`."""
        for name, parameter in self.scorer.model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(state["weights"][name])
        self.optimizer.restore(state["optimizer"])
        self._restore_random(state)

    def restore_progress(self, state: dict[str, Any]) -> None:
        """Resume from a `progress`, once weights and moments are loaded."""
        self.optimizer.done = state["done"]
        self._restore_random(state)

    def _restore_random(self, state: dict[str, Any]) -> None:
        if processes.rank():  # dropout of its own
            torch.manual_seed(seeding.derive(self.seed, str(processes.rank()), str(self.done)))
        else:
            set_random_state((state["rng"], state["cuda_rng"]), self.scorer.device)
