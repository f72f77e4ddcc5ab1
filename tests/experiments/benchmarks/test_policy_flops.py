"""FLOPs and activations of a pair, counted by hand for pairs of known lengths."""

import numpy as np
import pytest

from experiments.benchmarks.llama_flops import Shape, flops
from experiments.benchmarks.policy_flops import BATCH, counted, kept_bytes
from experiments.benchmarks.preference_pairs import Pairs

SHAPE = Shape(50, 64, 96, 3, 4, 2)


def test_a_pair_counts_its_prompt_once_and_no_padding() -> None:
    # a prompt of six tokens, then responses of 4 and 2, or of 2 and 4, that differ from the start
    prompt, long, short = np.arange(6), np.arange(10, 14), np.arange(20, 22)
    sides = [np.concatenate([prompt, rest]) for rest in (long, short)]
    tiny = [np.arange(4)] * BATCH
    count = 2 * BATCH
    made = Pairs(
        [sides[i % 2] for i in range(count)] + tiny,
        [sides[1 - i % 2] for i in range(count)] + tiny,
        np.append(np.full(count, 6), [2] * BATCH), BATCH, np.zeros((count + BATCH, 2)), 49,
    )  # fmt: skip
    found = {row["name"]: row for row in counted("m", SHAPE, made, 2**20, most=8)}
    assert len(found) == 6
    for way in ("TRL", "TRL, group_by_length"):
        work = found[f"m, {way}: GFLOP a pair"]
        ours, peer = flops(SHAPE, np.array([12]), 6), flops(SHAPE, np.array([10, 10]), 18)
        assert work["ours"] == pytest.approx(ours / 1e9)
        assert work["peer"] == pytest.approx(peer / 1e9)
        assert work["ratio"] == pytest.approx(peer / ours)
        assert work["limit_pairs_per_s_at_peak"] == pytest.approx(989e12 / ours)
        memory = found[f"m, {way}: activations a pair"]
        assert (memory["ours"], memory["peer"]) == (12, 20)


def test_activations_of_a_layer() -> None:
    # float32: both norms' inputs and normalised values; bfloat16: at least the inputs of the seven
    # products, queries, keys and values; and no weights, which would be 100 times as much
    hidden, wide, narrow = SHAPE.hidden, SHAPE.intermediate, SHAPE.hidden // 2
    least = 4 * 2 * hidden + 2 * (3 * hidden + 3 * wide + hidden + 2 * narrow)
    assert SHAPE.layers * least <= kept_bytes(SHAPE) <= 3 * SHAPE.layers * least
