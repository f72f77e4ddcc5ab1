import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sympo.models.texts.packed_rows import Group, PackedBatch, PackedRows
from sympo.types import BadInput, Encoded
from tests.models.texts.made_rows import Sides, answers, encoded, sides


def test_layout_of_a_pair() -> None:
    """The answers begin with the same token, which is computed once and scored on both sides."""
    (row,) = PackedRows(encoded(([1, 2, 3, 4, 5], 2)), encoded(([1, 2, 3, 6], 2))).rows
    assert row.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 3]
    assert (row.shared, row.first) == (3, 5)
    assert row.predictor.tolist() == [1, 2, 3, 1, 2]
    assert row.target.tolist() == [3, 4, 5, 3, 6]
    assert row.side.tolist() == [0, 0, 0, 1, 1]
    assert row.alone(0).tolist() == [1, 2, 3, 4, 5]
    assert row.alone(1).tolist() == [1, 2, 3, 6]
    assert row.predictor_alone.tolist() == [1, 2, 3, 1, 2]


@pytest.mark.parametrize("swapped", [False, True])
def test_a_side_that_the_other_begins_with_keeps_a_token_of_its_own(swapped: bool) -> None:
    short, long = encoded(([1, 2, 3], 2)), encoded(([1, 2, 3, 4], 2))
    (row,) = PackedRows(*((long, short) if swapped else (short, long))).rows
    assert row.shared == 2
    assert row.tokens.tolist() == ([1, 2, 3, 4, 3] if swapped else [1, 2, 3, 3, 4])
    assert row.predictor.tolist() == ([1, 2, 1] if swapped else [1, 1, 3])


def test_answers_may_begin_at_different_tokens() -> None:
    (row,) = PackedRows(encoded(([1, 2, 3, 4], 2)), encoded(([1, 2, 3, 5], 3))).rows
    assert row.target.tolist() == [3, 4, 5]
    assert row.side.tolist() == [0, 0, 1]


def test_one_side_is_a_row_of_its_own() -> None:
    rows = PackedRows(encoded(([1, 2, 3], 1), ([4, 5], 1)))
    assert rows.rows[0].tokens.tolist() == rows.rows[0].alone(0).tolist() == [1, 2, 3]
    assert rows.rows[0].predictor.tolist() == [0, 1]
    assert (rows.sides, len(rows)) == (1, 2)
    assert rows.tokens.tolist() == [3, 2]
    assert rows.lengths.tolist() == [[2], [1]]


@pytest.mark.parametrize(
    ("start", "named"), [(0, "begins at token 0 of 3"), (3, "begins at token 3 of 3")]
)
def test_answer_that_nothing_predicts_or_that_is_empty(start: int, named: str) -> None:
    good = encoded(([1, 2, 3], 1))
    with pytest.raises(BadInput, match=named):
        PackedRows(good, encoded(([1, 2, 3], start)))


def tokens_by_sequence(rows: PackedRows, packed: PackedBatch) -> list[list[int]]:
    scored = packed.scored
    count = len(scored.lengths)
    return [scored.target[scored.sequence == i].tolist() for i in range(count)]


@settings(deadline=None)
@given(both=sides(), data=st.data())
def test_sequences_keep_the_order_that_was_asked_for(both: Sides, data: st.DataObject) -> None:
    rows = PackedRows(*both)
    index = np.array(data.draw(st.permutations(range(len(rows)))))
    expected = [answers(side)[i] for i in index for side in both]
    for batch in (rows.pack(index), rows.pad(index)):
        scored = batch.scored
        assert tokens_by_sequence(rows, batch) == expected
        assert scored.lengths.tolist() == rows.lengths[index].ravel().tolist()
        sums = scored.sums(scored.target.double())
        assert sums.tolist() == [sum(answer) for answer in expected]


def seen(packed: PackedBatch, window: int | None) -> list[list[int]]:
    """The ids that each packed token attends to, in the order of their positions."""
    ids, positions = packed.input_ids[0], packed.position_ids[0]
    found: list[list[int]] = []
    for group in packed.groups:
        mask = group.mask(window)[:, 0]
        for row, allowed in enumerate(mask):
            length = int(group.lengths[row])
            first = group.start + int(group.lengths[:row].sum())
            for token in range(length):
                places = first + torch.nonzero(allowed[token])[:, 0]
                order = torch.argsort(positions[places], stable=True)
                found.append(ids[places[order]].tolist())
    return found


@settings(deadline=None)
@given(both=sides(), window=st.none() | st.integers(1, 6))
def test_every_token_sees_what_stands_before_it_in_its_side(
    both: Sides, window: int | None
) -> None:
    rows = PackedRows(*both)
    packed = rows.pack(np.arange(len(rows)))
    context, scored = seen(packed, window), packed.scored
    expected = [
        list(ids[max(0, t - window) if window else 0 : t])
        for row in range(len(rows))
        for side in both
        for ids in [side.ids[row]]
        for t in range(side.start[row], len(ids))
    ]
    by_sequence = torch.argsort(scored.sequence, stable=True)
    assert [context[i] for i in scored.predictor[by_sequence]] == expected


@settings(deadline=None)
@given(both=sides())
def test_padded_rows_hold_each_side_alone(both: Sides) -> None:
    rows = PackedRows(*both)
    padded = rows.pad(np.arange(len(rows)))
    whole = [list(side.ids[row]) for row in range(len(rows)) for side in both]
    real = zip(padded.input_ids, padded.mask.bool(), strict=True)
    assert [ids[mask].tolist() for ids, mask in real] == whole
    before = padded.input_ids.flatten()[padded.scored.predictor].tolist()
    starts = [side.start[row] for row in range(len(rows)) for side in both]
    assert before == [
        token for ids, start in zip(whole, starts, strict=True) for token in ids[start - 1 : -1]
    ]


def of_lengths(*lengths: int) -> PackedRows:
    return PackedRows(Encoded([np.zeros(n, np.int64) for n in lengths], np.ones(len(lengths), int)))


def test_rows_of_similar_length_attend_together() -> None:
    packed = of_lengths(40, 90, 41, 92, 300).pack(np.arange(5))
    assert [group.lengths.tolist() for group in packed.groups] == [[40, 41], [90, 92], [300]]
    assert [group.start for group in packed.groups] == [0, 81, 263]
    assert [group.longest for group in packed.groups] == [41, 92, 300]
    padded, _, single = packed.groups
    assert single.index is None and single.real is None
    assert padded.index is not None and padded.real is not None
    assert padded.index.tolist() == [*range(40), 39, *range(40, 81)]
    assert padded.real.tolist() == [*range(40), *range(41, 82)]


def test_rows_of_one_length_are_not_padded() -> None:
    (group,) = of_lengths(7, 7, 7).pack(np.arange(3)).groups
    assert isinstance(group, Group) and group.index is None


@settings(deadline=None)
@given(lengths=st.lists(st.integers(2, 9), min_size=1, max_size=12), most=st.integers(1, 30))
def test_batches_fill_the_budget_in_order(lengths: list[int], most: int) -> None:
    rows = of_lengths(*lengths)
    index = np.arange(len(rows))[::-1]
    parts = list(rows.batches(index, most))
    assert np.concatenate(parts).tolist() == index.tolist()
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        total = rows.tokens[part].sum()
        assert total <= most or len(part) == 1
        # the next row would not have fitted in
        assert after is None or total + rows.tokens[after[0]] > most


def test_no_rows_make_no_batch() -> None:
    assert list(of_lengths(3).batches(np.array([], int), 10)) == []
