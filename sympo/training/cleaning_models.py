"""The models that a filter asks: those of images side by side, those of texts one by one."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from sympo.protocols.models import ImageModel, Loss
from sympo.training.diverged import Diverged
from sympo.training.stacked_cells import CellTrainer, RewardCell, Schedule
from sympo.types import ImagePreferences, NoisyPairs


class StackedCleaningModels:
    """Reward models of images, `CleaningModels`, each a cell of a `CellTrainer`.

    data: the draw of the pairs; train, validation: those pairs with their flips, of which only the
    noisy labels are read. seeds: of each model's weights and batches.
    """

    def __init__(
        self,
        data: ImagePreferences,
        train: NoisyPairs,
        validation: NoisyPairs,
        model: ImageModel,
        loss: Loss,
        schedule: Schedule,
        seeds: Sequence[int],
        device: torch.device | str,
        note: Callable[[str], object],
    ) -> None:
        self.splits = (train, validation)
        weighted = replace(train, weight=np.ones(len(train.pairs)))
        cells = [RewardCell(seed, loss, weighted, validation) for seed in seeds]
        draws = dict.fromkeys(seeds, data)
        self.trainer = CellTrainer(cells, draws, model, schedule, device, note)
        self._rewards: np.ndarray | None = None

    def train_epoch(
        self, weight: np.ndarray | None = None, probability: np.ndarray | None = None
    ) -> None:
        if weight is not None:
            self.trainer.weigh(weight)
        if probability is not None:
            self.trainer.soften(probability)
        self.trainer.train_epoch()
        self._rewards = None
        self._check()

    def margins(self) -> np.ndarray:
        return self._margins(self.splits[0])

    def validation_margins(self) -> np.ndarray:
        return self._margins(self.splits[1])

    def _margins(self, noisy: NoisyPairs) -> np.ndarray:
        if self._rewards is None:
            self._rewards = np.stack(self.trainer.rewards())
            self._check()
        rewards, pairs = self._rewards, noisy.pairs
        found: np.ndarray = noisy.noisy_label * (rewards[:, pairs.first] - rewards[:, pairs.second])
        return found

    def _check(self) -> None:
        for error in self.trainer.diverged.values():
            raise Diverged(f"a model of the filter: {error}")
