"""Rank correlations of many reward functions with one true reward, in one pass on any device.

Everything that is summed is an integer, so the results do not depend on the order of sums: those of
`scipy.stats.spearmanr` and `kendalltau`, bit for bit, and the same on a CPU and on a GPU.
"""

import numpy as np
import torch
from torch import Tensor


class RankMetrics:
    """Spearman's and Kendall's (tau-b) correlation with the true reward of n items, and the mean
    reward at each level of the true reward.

    truth: (n,) true rewards. levels: (n,) the level of each; None takes each true reward as one.
    """

    def __init__(
        self,
        truth: np.ndarray,
        levels: np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        # in the order of the truth: sorted stably by reward, ties keep that order
        order = np.argsort(truth, kind="stable")
        _, code, counts = np.unique(truth[order], return_inverse=True, return_counts=True)
        stop = np.cumsum(counts)
        rank = (2 * stop - counts - len(truth))[code]
        self.n = len(truth)
        self.tied = int((counts * (counts - 1)).sum()) // 2
        self.spread = int((rank**2).sum())
        self._order, self._rank, self._code = (
            torch.from_numpy(one).to(device) for one in (order, rank, code)
        )
        self._places = torch.arange(self.n, device=device)
        self._splits = [
            [torch.from_numpy(one).to(device) for one in split] for split in _splits(code)
        ]
        levels = truth if levels is None else levels
        self._levels = {level: np.flatnonzero(levels == level) for level in np.unique(levels)}

    def __call__(self, rewards: Tensor) -> list[dict[str, float | None]]:
        """The metrics of each reward function; a correlation with a constant is None.

        rewards: (C, n), finite.
        """
        names = ("spearman", "kendall")
        correlations = [
            dict.fromkeys(names) if None in pair else dict(zip(names, pair, strict=True))
            for pair in self._correlations(rewards)
        ]
        found = rewards.cpu().numpy()
        means = {
            f"reward_mean/{level}": found.take(which, 1).mean(1).tolist()
            for level, which in self._levels.items()
        }
        return [
            {**one, **{name: values[cell] for name, values in means.items()}}
            for cell, one in enumerate(correlations)
        ]

    def _correlations(self, rewards: Tensor) -> list[tuple[float | None, float | None]]:
        n, freedom = self.n, max(1, self.n - 1)
        values, place = rewards.index_select(1, self._order).sort(dim=1, stable=True)
        code = self._code[place]
        begins = values[:, 1:] != values[:, :-1]
        start, places = self._start(begins), self._places
        # twice the centred mean rank of ties, begin + end - n
        rank = start - self._start(begins.flip(1)).flip(1)
        both = self._start(begins | (code[:, 1:] != code[:, :-1]))
        sums = torch.stack(
            [
                (rank * self._rank[place]).sum(1),
                (rank * rank).sum(1),
                (places - start).sum(1),
                (places - both).sum(1),
                self._inversions(code),
            ]
        )
        together, spread, tied, tied_in_both, discordant = sums.cpu().numpy()
        constant = (spread == 0) | (self.spread == 0)
        spread[constant] = 1
        # as NumPy's corrcoef and SciPy's kendalltau round
        own, true = (np.sqrt(one / 4 * (1 / freedom)) for one in (spread, self.spread or 1))
        spearman = np.clip(together / 4 * (1 / freedom) / true / own, -1, 1)
        pairs = n * (n - 1) // 2
        surplus = pairs - tied - self.tied + tied_in_both - 2 * discordant
        with np.errstate(divide="ignore", invalid="ignore"):
            kendall = surplus / np.sqrt(pairs - tied) / np.sqrt(pairs - self.tied)
        kendall = np.clip(kendall, -1, 1)
        return [
            (None, None) if same else (float(one), float(other))
            for same, one, other in zip(constant, spearman, kendall, strict=True)
        ]

    def _start(self, begins: Tensor) -> Tensor:
        """Where the run of each place begins; begins: (C, n - 1), whether a run begins after."""
        start = self._places.new_zeros(len(begins), self.n)
        torch.mul(begins, self._places[1:], out=start[:, 1:])
        return start.cummax(1).values

    def _inversions(self, code: Tensor) -> Tensor:
        """How many pairs (i, j), i < j, of each row have code_i > code_j; (C, n) -> (C,).

        A pair is counted at the highest bit in which its codes differ: rows are partitioned stably
        by one bit after the other, and each 0 counts the 1s before it in its part.
        """
        found = code.new_zeros(len(code))
        for bit, (part, ones) in zip(reversed(range(len(self._splits))), self._splits, strict=True):
            one = (code >> bit) & 1
            before = one.cumsum(1) - one
            before = before - before.index_select(1, part)
            found += ((1 - one) * before).sum(1)
            target = torch.where(one == 1, ones + before, self._places - before)
            code = torch.empty_like(code).scatter_(1, target, code)
        return found


def _splits(code: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each bit of sorted codes, the highest first: where the part of each place begins, which
    has the higher bits in common, and where its codes with this bit set begin; (n,) each."""
    return [
        (
            np.searchsorted(code, (code >> (bit + 1)) << (bit + 1)),
            np.searchsorted(code, ((code >> (bit + 1)) << 1 | 1) << bit),
        )
        for bit in reversed(range(int(code[-1]).bit_length()))
    ]
