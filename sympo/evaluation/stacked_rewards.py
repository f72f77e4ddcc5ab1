"""Metrics of many reward models of images on the splits of one seed, in one pass on any device.

Accuracies are sums of whole and half numbers, which every device adds up exactly. On a GPU only
these sums and the gaps of test pairs come back, and nothing waits for a single model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sympo.evaluation.flips import anchors, auroc, effective_pairs, estimate_from
from sympo.evaluation.rank_metrics import RankMetrics
from sympo.evaluation.rewards import agreement, order_metrics
from sympo.types import ImagePreferences, NoisyPairs

Metrics = dict[str, float | None]


class StackedMetrics:
    """Metrics of the C cells of one seed, which differ in their flips.

    images: (m,) the sorted numbers of all images that the splits use. train, validation: the pairs
    of each cell with its flips.
    """

    def __init__(
        self,
        draw: ImagePreferences,
        train: Sequence[NoisyPairs],
        validation: Sequence[NoisyPairs],
        device: torch.device | str = "cpu",
    ) -> None:
        self.draw = draw
        splits = (draw.train, draw.validation, draw.test)
        used = [images for pairs in splits for images in (pairs.first, pairs.second)]
        self.images = np.unique(np.concatenate([*used, draw.test_images]))
        self._noisy = {
            "train": _NoisySplit(self.images, train, device),
            "validation": _NoisySplit(self.images, validation, device),
        }
        self._first, self._second, self._shown = (
            torch.from_numpy(np.searchsorted(self.images, which)).to(device)
            for which in (draw.test.first, draw.test.second, draw.test_images)
        )
        shown = draw.test_images
        self._ranks = RankMetrics(draw.rewards[shown], draw.levels[shown], device)

    def of_training_pairs(self, rewards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rewards of both images of every training pair, and the noisy labels; (C, n) each.

        rewards: (C, m) in the order of `images`.
        """
        pairs = self._noisy["train"]
        return *pairs.sides(rewards), pairs.noisy_label

    def __call__(self, rewards: Tensor) -> tuple[list[Metrics], np.ndarray]:
        """The metrics of each cell, and its agreement with the true order on every test pair,
        (C, n).

        rewards: (C, m) float64, finite, in the order of `images`.
        """
        test = self.draw.test
        assert test.gap is not None  # the true rewards of images are known
        # queued before anything is waited for
        noisy = {split: pairs.agreed(rewards) for split, pairs in self._noisy.items()}
        gaps = (
            (rewards.index_select(1, self._first) - rewards.index_select(1, self._second))
            .cpu()
            .numpy()
        )
        ranks = self._ranks(rewards.index_select(1, self._shown))
        found: list[Metrics] = [
            {f"test/{name}": value for name, value in (order_metrics(gap, test) | one).items()}
            for gap, one in zip(gaps, ranks, strict=True)
        ]
        for split, sums in noisy.items():
            for cell, metrics in enumerate(self._noisy[split].metrics(sums)):
                found[cell] |= {f"{split}/{name}": value for name, value in metrics.items()}
        return found, agreement(gaps, test.gap)


class _NoisySplit:
    """`sympo.evaluation.rewards.label_metrics` of stacked cells."""

    def __init__(
        self, images: np.ndarray, cells: Sequence[NoisyPairs], device: torch.device | str
    ) -> None:
        pairs = cells[0].pairs
        flipped = np.stack([one.flipped for one in cells])
        self.n, self.flips = len(pairs), flipped.sum(1).tolist()
        self.anchors = anchors(self.n)
        noisy = np.sign(np.stack([one.noisy_label for one in cells]))
        self.first, self.second, self.label, self.noisy_label, self.flipped = (
            torch.from_numpy(np.ascontiguousarray(one)).to(device)
            for one in (
                np.searchsorted(images, pairs.first),
                np.searchsorted(images, pairs.second),
                np.sign(pairs.label),
                noisy,
                flipped,
            )
        )

    def sides(self, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """The rewards of both images of every pair; (C, n) each."""
        return rewards.index_select(1, self.first), rewards.index_select(1, self.second)

    def agreed(self, rewards: Tensor) -> Tensor:
        """Over all pairs, and over flipped ones, the sum of +1 for agreement with the clean label,
        -1 for the opposite, 0 for a tie; the doubled ranks of the flipped pairs by their margin
        towards the noisy label; and over anchors the agreement with the noisy label; (4, C)."""
        first, second = self.sides(rewards)
        gap = first - second
        margin = gap * self.noisy_label
        ordered = margin.sort(1).values
        ranks = torch.searchsorted(ordered, margin)
        ranks += torch.searchsorted(ordered, margin, right=True) + 1
        surest = margin.abs().sort(dim=1, descending=True, stable=True).indices[:, : self.anchors]
        anchored = margin.gather(1, surest).sign_().sum(1)
        sides = gap.sign_().mul_(self.label)
        whole = sides.sum(1)
        flips = [sides.mul_(self.flipped).sum(1), (ranks * self.flipped).sum(1).double()]
        return torch.stack([whole, *flips, anchored])

    def metrics(self, agreed: Tensor) -> list[Metrics]:
        n, found = self.n, list[Metrics]()
        sums = zip(agreed.T.tolist(), self.flips, strict=True)
        for (clean, flipped, ranks, anchored), flips in sums:
            rate, error = estimate_from(anchored, self.anchors)
            found.append(
                {
                    "noisy_accuracy": (clean - 2 * flipped + n) / 2 / n,
                    "clean_accuracy": (clean + n) / 2 / n,
                    "flipped_memorised": (flips - flipped) / 2 / flips if flips else None,
                    "flip_auroc": auroc(int(ranks), flips, n),
                    "noise_estimate": rate,
                    "noise_estimate_se": error,
                    "effective_pairs": effective_pairs(flips, n),
                }
            )
        return found
