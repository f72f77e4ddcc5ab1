"""Pairs as rows [shared prefix, rest of the chosen, rest of the rejected], packed without padding.

The longest common token prefix of the two sides of a pair is computed once. Positions restart
after it, and the rest of the rejected side does not attend to the rest of the chosen one, so every
token has the same context as in a separate row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from sympo.types import BadInput, Encoded

# rows whose lengths differ by no more than this share one padded attention call
_SLACK, _SLACK_TOKENS = 1.125, 4


@dataclass(frozen=True)
class PackedRow:
    """One row: one side, or two that share a prefix.

    tokens, positions: (length,); shared: length of the prefix; first: length of the first side,
    prefix included, so that the tokens from `first` on belong to the second side.
    predictor, target: (scored,) the token of the row that predicts, and the id that it must give.
    side: (scored,) 0 for the first side, 1 for the second.
    """

    tokens: np.ndarray
    positions: np.ndarray
    shared: int
    first: int
    predictor: np.ndarray
    target: np.ndarray
    side: np.ndarray

    def alone(self, side: int) -> np.ndarray:
        """The tokens of one side."""
        if side == 0:
            return self.tokens[: self.first]
        return np.concatenate([self.tokens[: self.shared], self.tokens[self.first :]])

    def last(self, side: int, filler: int | None) -> int:
        """Index in the row of a side's last token that is not filler, or else of its first."""
        own = np.flatnonzero(self.alone(side) != filler)
        place = int(own[-1]) if len(own) else 0
        return place if side == 0 or place < self.shared else place - self.shared + self.first

    @property
    def predictor_alone(self) -> np.ndarray:
        """`predictor` as an index into its own side."""
        own = self.predictor >= self.first
        return np.where(own, self.predictor - self.first + self.shared, self.predictor)


@dataclass(frozen=True)
class Group:
    """Adjacent rows of similar length in a batch, which share one attention call.

    start: their first token. index: (rows * longest,) the packed token at each place of the grid
        that pads them; real: (tokens,) the place in that grid of each packed token; both None if no
        row is padded.
    lengths, shared, first: (rows,), as in `PackedRow`.
    """

    start: int
    index: Tensor | None
    real: Tensor | None
    lengths: Tensor
    shared: Tensor
    first: Tensor
    longest: int

    def mask(self, window: int | None) -> Tensor:
        """Which key each query attends to, (rows, 1, query, key); window: in positions, or None."""
        place = torch.arange(self.longest, device=self.lengths.device)
        shared, first = self.shared[:, None], self.first[:, None]
        second_side = place >= first
        first_only = (place >= shared) & (place < first)
        seen = place[:, None] >= place
        seen = seen & ~(second_side[:, :, None] & first_only[:, None, :])
        if window is not None:
            position = torch.where(second_side, place - first + shared, place)
            seen = seen & (position[:, :, None] - position[:, None, :] < window)
        return seen[:, None]


@dataclass(frozen=True)
class Scored:
    """The tokens of a batch that are scored, and the sequences that they belong to.

    predictor: (scored,) the token of the batch that predicts; target: (scored,) the id predicted.
    sequence: (scored,) `sides * row + side`; lengths: (sequences,) float, scored tokens of each.
    """

    predictor: Tensor
    target: Tensor
    sequence: Tensor
    lengths: Tensor

    def sums(self, values: Tensor) -> Tensor:
        """Sums of per-token values over each sequence: (scored,) -> (sequences,)."""
        total = torch.zeros(len(self.lengths), dtype=values.dtype, device=values.device)
        return total.index_add(0, self.sequence, values)


@dataclass(frozen=True)
class PackedBatch:
    """A batch of rows as one row of tokens; input_ids, position_ids: (1, tokens).

    starts: (rows,) the first token of each row, in the order requested.
    lengths, shared, first: (rows,), as in `PackedRow`, in the order of the tokens, in host memory.
    """

    input_ids: Tensor
    position_ids: Tensor
    starts: Tensor
    lengths: np.ndarray
    shared: np.ndarray
    first: np.ndarray
    scored: Scored

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The rows in groups of similar length."""
        return tuple(_groups(self))


@dataclass(frozen=True)
class PaddedBatch:
    """The same batch with a padded row for each side; input_ids, mask: (sequences, longest)."""

    input_ids: Tensor
    mask: Tensor
    scored: Scored


class PackedRows:
    """A data set of rows, to be packed batch by batch.

    sides: one or two `Encoded` of equal length. tokens: (rows,), of each row; lengths: (rows,
        sides) float, scored tokens of each side. Raises BadInput if an answer is empty or begins
        at the very first token, which nothing predicts.
    """

    def __init__(self, *sides: Encoded) -> None:
        self.sides = len(sides)
        self.rows = [
            _row([(side.ids[i], int(side.start[i])) for side in sides])
            for i in range(len(sides[0]))
        ]
        self.tokens = np.array([len(row.tokens) for row in self.rows], dtype=np.int64)
        scored = [np.bincount(row.side, minlength=self.sides) for row in self.rows]
        self.lengths = np.array(scored, dtype=np.float64)

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, index: np.ndarray, most_tokens: int) -> Iterator[np.ndarray]:
        """Row numbers, in their order, in parts of at most so many tokens; a longer row is alone in
        its part."""
        return parts(self.tokens, index, most_tokens)

    def last(self, index: np.ndarray, filler: int | None) -> np.ndarray:
        """Index in its row of each side's last token that is not filler; (rows, sides)."""
        return np.array(
            [[self.rows[i].last(side, filler) for side in range(self.sides)] for i in index]
        )

    def pack(self, index: np.ndarray, device: torch.device | str = "cpu") -> PackedBatch:
        """The rows with these numbers, without padding."""
        # sorted by length; sequences keep the order of `index`
        order = np.argsort(self.tokens[index], kind="stable")
        rows = [self.rows[index[i]] for i in order]
        starts = np.cumsum([0, *(len(row.tokens) for row in rows)])
        tensor = partial(send, device)
        return PackedBatch(
            input_ids=tensor(np.concatenate([row.tokens for row in rows]))[None],
            position_ids=tensor(np.concatenate([row.positions for row in rows]))[None],
            starts=tensor(starts[:-1][np.argsort(order)]),
            lengths=np.diff(starts),
            shared=np.array([row.shared for row in rows]),
            first=np.array([row.first for row in rows]),
            scored=self._scored(
                rows,
                [start + row.predictor for start, row in zip(starts[:-1], rows, strict=True)],
                [self.sides * i + row.side for i, row in zip(order, rows, strict=True)],
                tensor,
            ),
        )

    def pad(
        self, index: np.ndarray, device: torch.device | str = "cpu", filler: int = 0
    ) -> PaddedBatch:
        """The rows with these numbers, a row for each side, padded on the right."""
        rows = [self.rows[i] for i in index]
        alone = [row.alone(side) for row in rows for side in range(self.sides)]
        longest = max(map(len, alone))
        ids = np.stack(
            [np.pad(own, (0, longest - len(own)), constant_values=filler) for own in alone]
        )
        mask = np.stack([np.arange(longest) < len(own) for own in alone])
        sequences = [self.sides * i + row.side for i, row in enumerate(rows)]
        tensor = partial(send, device)
        return PaddedBatch(
            input_ids=tensor(ids),
            mask=tensor(mask),
            scored=self._scored(
                rows,
                [
                    longest * sequence + row.predictor_alone
                    for sequence, row in zip(sequences, rows, strict=True)
                ],
                sequences,
                tensor,
            ),
        )

    def _scored(
        self,
        rows: Sequence[PackedRow],
        predictors: Sequence[np.ndarray],
        sequences: Sequence[np.ndarray],
        tensor: Callable[[np.ndarray], Tensor],
    ) -> Scored:
        sequence = np.concatenate(sequences)
        return Scored(
            predictor=tensor(np.concatenate(predictors)),
            target=tensor(np.concatenate([row.target for row in rows])),
            sequence=tensor(sequence),
            lengths=tensor(np.bincount(sequence, minlength=self.sides * len(rows))).float(),
        )


def parts(sizes: np.ndarray, index: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Row numbers, in their order, in parts whose sizes add up to at most `most`; a larger row is a
    part of its own. sizes: of all rows."""
    start = total = 0
    for end, row in enumerate(index):
        if end > start and total + sizes[row] > most:
            yield index[start:end]
            start, total = end, 0
        total += int(sizes[row])
    if len(index) > start:
        yield index[start:]


def send(device: torch.device | str, array: np.ndarray, dtype: torch.dtype = torch.int64) -> Tensor:
    """Integers on a device, without waiting for work queued on a GPU."""
    tensor = torch.as_tensor(array, dtype=dtype)
    if torch.device(device).type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def _row(sides: Sequence[tuple[np.ndarray, int]]) -> PackedRow:
    for ids, start in sides:
        if not 1 <= start < len(ids):
            raise BadInput(
                f"an answer begins at token {start} of {len(ids)}: it must begin after the first "
                "token, which nothing predicts, and must not be empty"
            )
    (a, a_start), (b, b_start) = sides[0], sides[-1]
    two = len(sides) == 2
    shared = _common(a, b) if two else len(a)
    rest = b[shared:] if two else b[:0]
    a_scored = np.arange(a_start, len(a))
    b_scored = np.arange(b_start, len(b)) if two else a_scored[:0]
    before = b_scored - 1
    return PackedRow(
        tokens=np.concatenate([a, rest]),
        positions=np.concatenate([np.arange(len(a)), shared + np.arange(len(rest))]),
        shared=shared,
        first=len(a),
        predictor=np.concatenate(
            [a_scored - 1, np.where(before < shared, before, before - shared + len(a))]
        ),
        target=np.concatenate([a[a_scored], b[b_scored]]),
        side=np.repeat([0, 1], [len(a_scored), len(b_scored)]),
    )


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common prefix that leaves each side at least one token."""
    shorter = min(len(a), len(b)) - 1
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter


def _groups(packed: PackedBatch) -> Iterator[Group]:
    lengths, tensor = packed.lengths, partial(send, packed.input_ids.device)
    starts = np.cumsum(lengths) - lengths
    begin = 0
    while begin < len(lengths):
        most = lengths[begin] * _SLACK + _SLACK_TOKENS
        end = begin + int(np.searchsorted(lengths[begin:], most, side="right"))
        own, longest = lengths[begin:end], int(lengths[end - 1])
        index = real = None
        if own[0] < longest:
            place = np.arange(longest)
            # padding repeats a row's last token; its output is discarded
            padded = starts[begin:end, None] + np.minimum(place, own[:, None] - 1)
            index = tensor(padded.ravel())
            real = tensor(np.flatnonzero(place < own[:, None]))
        yield Group(
            start=int(starts[begin]),
            index=index,
            real=real,
            lengths=tensor(own),
            shared=tensor(packed.shared[begin:end]),
            first=tensor(packed.first[begin:end]),
            longest=longest,
        )
        begin = end
