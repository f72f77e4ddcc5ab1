"""Batches, accumulation and failures of the benchmarks against TRL; no engine trains here."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets.fingerprint
import numpy as np
import pytest
import transformers

from experiments.benchmarks import dpo_vs_trl, engines, reward_vs_trl, trl_comparison
from experiments.benchmarks.dpo_vs_trl import DPOTask
from experiments.benchmarks.engines import TRL, Engine
from experiments.benchmarks.isolated import Failure
from experiments.benchmarks.llama_flops import SHAPES, flops
from experiments.benchmarks.preference_pairs import Pairs, our_flops, passes, peer_flops, unused
from experiments.benchmarks.reward_vs_trl import RewardTask
from experiments.benchmarks.training_rounds import Round

SHAPE, TASK = SHAPES["small"], DPOTask()


def pairs(count: int = 24, tiny: int = 4) -> Pairs:
    """Pairs whose sides have 10, 11, ... tokens, then tiny ones; the prompt has two."""
    lengths = [10 + i for i in range(count)] + [4] * tiny
    sides = [np.arange(length) for length in lengths]
    return Pairs(sides, sides, np.full(count + tiny, 2), tiny, np.zeros((count + tiny, 2)), 999)


def test_passes_are_the_batch_in_order() -> None:
    found = passes(np.arange(8), 2)
    assert [list(part) for part in found] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert len(passes(np.arange(8), 8)) == 1
    with pytest.raises(ValueError, match="8 pairs a step cannot be taken 3 at a time"):
        passes(np.arange(8), 3)


def test_a_pass_is_padded_to_its_own_longest() -> None:
    made, batch = pairs(), np.arange(4)  # 10, 11, 12 and 13 tokens
    whole = flops(SHAPE, np.full(8, 13), 8 * 12)
    halves = flops(SHAPE, np.full(4, 11), 4 * 10) + flops(SHAPE, np.full(4, 13), 4 * 12)
    assert peer_flops(SHAPE, made, [batch]) == whole
    assert TRL(TASK, "peer", most=2).flops(SHAPE, made, batch) == halves < whole


def test_reward_models_have_no_logits() -> None:
    made, batch = pairs(), np.arange(4)
    peer = TRL(RewardTask(), "peer", most=4)
    assert peer.flops(SHAPE, made, batch) == flops(SHAPE, np.full(8, 13), 0)
    # identical sides share all but their last token
    rows = np.array([11, 12, 13, 14])
    assert Engine(RewardTask()).flops(SHAPE, made, batch) == flops(SHAPE, rows, 0)
    scored = 2 * sum(length - 2 for length in (10, 11, 12, 13))
    assert our_flops(SHAPE, made, [batch]) == flops(SHAPE, rows, scored)


def test_padding_is_an_id_that_no_pair_has() -> None:
    assert unused(np.array([0, 1, 3, 7]), 8) == 2
    with pytest.raises(ValueError, match="all 3 token ids occur"):
        unused(np.arange(3), 3)


def test_batches_are_full_and_without_tiny_pairs() -> None:
    made = pairs()
    for grouped in (False, True):
        found = made.batches(4, grouped, 3)
        assert [len(batch) for batch in found] == [4, 4, 4]
        assert max(map(max, found)) < 24
        assert len(np.unique(np.concatenate(found))) == 12
    assert list(made.longest_batch(3)) == [23, 22, 21]
    assert list(made.first_batch(4)) == [24, 25, 26, 27]


def test_trl_accumulates_passes_to_a_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.trainer.dpo_trainer")
    seen: dict[str, Any] = {}

    def init(self: Any, model: Any, args: Any, train_dataset: Any, **_: Any) -> None:
        seen.update(args=args, rows=len(train_dataset), order=self._get_train_sampler())

    monkeypatch.setattr(trl.DPOTrainer, "__init__", init)
    monkeypatch.setattr(trl.DPOTrainer, "train", lambda self: None)
    monkeypatch.setattr(engines, "llama", lambda *_: None)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda path: Mock())
    arguments = argparse.Namespace(
        length=64, device="cpu", gradient_checkpointing=False, compile=False, tokenizer=tmp_path
    )
    batches = [np.arange(8), np.arange(8, 16)]
    TRL(TASK, "peer", most=2).train(batches, pairs(), arguments)
    args = seen["args"]
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (2, 4)
    assert args.max_steps == 2 and seen["order"] == list(range(16)) and seen["rows"] == 28


def test_rows_need_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise TypeError("cannot pickle")

    monkeypatch.setattr(datasets.fingerprint.Hasher, "update", fails)
    monkeypatch.setattr(datasets.fingerprint.Hasher, "hash", fails)
    arguments = argparse.Namespace(length=64)
    found = engines.dataset(TASK.peer(pairs(), arguments).columns)
    assert found[1]["prompt_ids"] == [0, 1] and found[1]["chosen_ids"] == list(range(2, 11))


def test_liger_is_left_out_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [peer.liger for peer in engines.peers(TASK, "cpu")] == [False, False]
    assert capsys.readouterr().out == "TRL runs without Liger kernels: they need a GPU\n"
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert len(engines.peers(TASK, "cuda")) == 2
    assert "liger-kernel is not installed" in capsys.readouterr().out
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    assert [way.liger for way in engines.peers(TASK, "cuda")] == [False, False, True]
    assert capsys.readouterr().out == ""


SPEEDS = {2: 1.0, 4: 3.0, 8: 2.0}


def faked(fail: Sequence[tuple[str, int]], memory: bool) -> Any:
    """Stands in for `alone`: measures of engines by their pairs a pass; some fail."""

    def call(work: Any, first: Any, *rest: Any) -> Any:
        if not isinstance(first, Engine):
            return np.zeros((len(rest[0].start), 2))  # the reference
        timed = rest[2]
        most = first.most if isinstance(first, TRL) else 0
        if (first.name, most) in fail:
            return Failure("Traceback\nRuntimeError: broken", memory)
        count = sum(map(len, timed))
        return Round(count / SPEEDS.get(most, 6.0), count, 2**20, 1e9, 1e9, 1e12)

    return call


def run(
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
    fail: Sequence[tuple[str, int]],
    *extra: str,
    module: Any = dpo_vs_trl,
    memory: bool = False,
) -> int:
    for place in (dpo_vs_trl, trl_comparison):
        monkeypatch.setattr(place, "alone", faked(fail, memory))
    monkeypatch.setattr(trl_comparison, "read", lambda arguments: pairs(64, arguments.batch))
    words = ["dpo_vs_trl", "--data", "rows", "--tokenizer", "words", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*words, "--rounds", "2", "--steps", "2", *extra])
    return int(module.main())


OURS, DEFAULT, GROUPED = "ours", "TRL, default sampler", "TRL, group_by_length"


def test_each_way_runs_at_its_fastest_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried = ("--micro-batch", "2", "4", "8")
    assert run(monkeypatch, tmp_path, [(DEFAULT, 4)], *tried) == 0
    table = json.loads((tmp_path / "dpo_vs_trl.json").read_text())
    # 4 is the fastest, but fails in the first way
    assert table["micro_batch"] == {DEFAULT: 8, GROUPED: 4}
    assert [row.get("ratio") for row in table["rows"]] == [3.0, 1.0, 2.0, 1.0]


def test_larger_passes_are_not_tried_once_one_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = ("--micro-batch", "8", "4", "2")
    assert run(monkeypatch, tmp_path, [(DEFAULT, 4)], *tried, memory=True) == 0
    table = json.loads((tmp_path / "dpo_vs_trl.json").read_text())
    assert table["micro_batch"] == {DEFAULT: 2, GROUPED: 4} and "failed" not in table
    out = capsys.readouterr().out
    assert f"{DEFAULT}, 4 pairs a pass, trial: does not fit: RuntimeError: broken" in out
    assert f"{DEFAULT}, 8 pairs" not in out


def test_reward_models_are_compared_alike(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, tmp_path, [], module=reward_vs_trl) == 0
    table = json.loads((tmp_path / "reward_vs_trl.json").read_text())
    assert [row.get("ratio") for row in table["rows"]] == [3.0, 1.0, 3.0, 1.0]


def test_the_others_continue_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, [(DEFAULT, 8)]) == 1
    out = capsys.readouterr().out
    assert out.count("Traceback") == 1  # it is not run again in the second round
    table = json.loads((tmp_path / "dpo_vs_trl.json").read_text())
    assert table["failed"] == {DEFAULT: "RuntimeError: broken"}
    assert table["rounds"] == 2 and len(table["rows"]) == 2
    assert all(row["name"].startswith(GROUPED) for row in table["rows"])


def test_without_ours_the_peers_are_still_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path, [(OURS, 0)]) == 1
    out = capsys.readouterr().out
    assert out.count(f"{DEFAULT}: ") == 2 and "there is nothing to compare" in out
    assert not list(tmp_path.iterdir())


def test_passes_must_divide_a_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, [], "--micro-batch", "3")
    assert "--micro-batch=3 must divide --batch=8" in capsys.readouterr().err


def test_processor_time_is_of_one_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path, [], "--processor-time", "--threads", "2")
    assert "--processor-time needs --threads 1" in capsys.readouterr().err


def test_an_engine_with_another_pass_is_another_key() -> None:
    one, *_ = engines.peers(TASK, "cpu")
    assert replace(one, most=4) != one and hash(replace(one)) == hash(one)
