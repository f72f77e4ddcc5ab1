"""The pairs of the benchmarks against TRL as token ids, and the batches that an engine takes."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from experiments.benchmarks.llama_flops import SHAPES, Shape, flops
from sympo.data.hh import HH
from sympo.data.ultrafeedback import UltraFeedback
from sympo.models.texts.packed_rows import PackedRows
from sympo.types import Encoded


@dataclass(frozen=True)
class Pairs:
    """Token ids of pairs, the last of them tiny, with their reference log-probabilities.

    start: (n,), where both responses begin. tiny: how many are tiny.
    reference: (n, 2) log-probabilities. filler: the id that pads, which no pair contains.
    """

    chosen: list[np.ndarray]
    rejected: list[np.ndarray]
    start: np.ndarray
    tiny: int
    reference: np.ndarray
    filler: int

    @cached_property
    def rows(self) -> PackedRows:
        return PackedRows(Encoded(self.chosen, self.start), Encoded(self.rejected, self.start))

    @property
    def longer(self) -> np.ndarray:
        """Tokens of the longer side of each pair, to which padding extends both."""
        both = zip(self.chosen, self.rejected, strict=True)
        return np.array([max(map(len, sides)) for sides in both])

    def first_batch(self, size: int) -> np.ndarray:
        """Tiny pairs, for the step after which weights, gradients and moments are in memory."""
        return np.arange(len(self.start) - size, len(self.start))

    def longest_batch(self, size: int) -> np.ndarray:
        """The pairs with the longest sides, which need the most memory."""
        return np.argsort(-self.longer, kind="stable")[:size]

    def epoch(self, size: int, grouped: bool) -> list[np.ndarray]:
        """The full batches of an epoch, without the tiny pairs; of similar length if grouped."""
        from transformers.trainer_pt_utils import LengthGroupedSampler

        longer = self.longer[: -self.tiny]
        generator = torch.Generator().manual_seed(0)
        if grouped:
            order = list(LengthGroupedSampler(size, lengths=longer.tolist(), generator=generator))
        else:
            order = torch.randperm(len(longer), generator=generator).tolist()
        return [np.array(order[i : i + size]) for i in range(0, len(order) // size * size, size)]

    def batches(self, size: int, grouped: bool, wanted: int) -> list[np.ndarray]:
        """Batches at equal intervals of an epoch."""
        batches = self.epoch(size, grouped)
        return batches[:: len(batches) // wanted][:wanted]


def read(arguments: argparse.Namespace) -> Pairs:
    """Read the pairs of a data set as token ids, with reference log-probabilities 0."""
    from transformers import AutoTokenizer

    kind = UltraFeedback if list(arguments.data.glob("*_prefs*")) else HH
    dataset = kind(
        path=str(arguments.data), train_pairs=arguments.pairs, validation_pairs=1, test_pairs=1,
        max_length=arguments.length, max_prompt_length=arguments.length // 2,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    data, words = dataset.preferences(0, tokenizer, None).train, SHAPES[arguments.shape].vocabulary
    count = arguments.batch
    tiny = [np.arange(4 * i, 4 * i + 4) for i in range(2 * count)]
    chosen, rejected = (
        [ids % words for ids in side.ids] + few
        for side, few in ((data.chosen, tiny[:count]), (data.rejected, tiny[count:]))
    )
    return Pairs(
        chosen=chosen,
        rejected=rejected,
        start=np.append(np.minimum(data.chosen.start, data.rejected.start), [2] * count),
        tiny=count,
        reference=np.zeros((len(chosen), 2)),
        filler=unused(np.concatenate(chosen + rejected), min(words, len(tokenizer))),
    )


def unused(ids: np.ndarray, below: int) -> int:
    """The smallest id that does not occur; ValueError if all below `below` do."""
    free = np.setdiff1d(np.arange(below), ids)
    if not len(free):
        raise ValueError(f"all {below} token ids occur in the pairs, so none can pad; take fewer")
    return int(free[0])


def passes(batch: np.ndarray, most: int) -> list[np.ndarray]:
    """A batch in passes of `most` pairs, whose gradients are accumulated.

    ValueError if they do not divide the batch.
    """
    if len(batch) % most:
        raise ValueError(f"{len(batch)} pairs a step cannot be taken {most} at a time")
    return np.split(batch, len(batch) // most)


def our_flops(
    shape: Shape,
    pairs: Pairs,
    batches: Sequence[np.ndarray],
    logits: bool = True,
    again: bool = True,
) -> float:
    """FLOPs of our engine, which computes no padding and each shared prompt once.

    logits: whether responses are scored by a head as wide as the vocabulary.
    """
    rows = pairs.rows
    return sum(
        flops(shape, rows.tokens[batch], logits * rows.lengths[batch].sum(), again)
        for batch in batches
    )


def peer_flops(
    shape: Shape, pairs: Pairs, batches: Sequence[np.ndarray], logits: bool = True
) -> float:
    """FLOPs of TRL, which pads both sides of all pairs of a pass to one length; without Triton its
    head takes every token but the last of each."""
    total = 0.0
    for batch in batches:
        sides, longest = 2 * len(batch), pairs.longer[batch].max()
        total += flops(shape, np.full(sides, longest), logits * sides * (longest - 1))
    return total
