"""Outcomes come back as they were packed, and nothing else does."""

from pathlib import Path

import numpy as np
import pytest

from sympo.identity import Identity
from sympo.outcomes import Scored, TestSet, prompt_keys, set_digest, unpack
from sympo.runs.folder import RunFolder, file_of_test_set
from sympo.runs.names import CellName

IDS = np.array([7, 3, 2**63, 11, 5], dtype=np.uint64)
UNITS = np.arange(10).reshape(5, 2)


@pytest.mark.parametrize("scores", [[1, 0, 0, 1, 1], [0.5, 0, 1, 0.5, 1], [0.5] * 5])
def test_outcomes_come_back_in_the_order_of_ids(scores: list[float]) -> None:
    packed = Scored(IDS, UNITS).pack(scores)
    order = np.argsort(IDS)
    assert unpack([packed, packed], 5).tolist() == [np.array(scores)[order].tolist()] * 2


def test_many_pack_into_a_few_hundred_bytes() -> None:
    scored = Scored(np.arange(1000, dtype=np.uint64), np.arange(1000))
    draw = np.random.default_rng(0)
    assert len(scored.pack(draw.random(1000) < 0.7)) < 200
    assert len(scored.pack(draw.choice([0, 0.5, 1], 1000))) < 400


def test_the_order_of_items_does_not_matter() -> None:
    scores, other = np.array([1, 0, 0.5, 0, 1]), np.array([3, 1, 0, 4, 2])
    assert Scored(IDS, UNITS).pack(scores) == Scored(IDS[other], UNITS[other]).pack(scores[other])


def test_other_units_are_another_test_set() -> None:
    assert Scored(IDS, UNITS).test_set.digest != Scored(IDS, UNITS + 1).test_set.digest


def test_a_test_set_comes_back() -> None:
    made = Scored(IDS, UNITS).test_set
    found = TestSet.load(made.dump())
    assert found.digest == made.digest == set_digest(Scored(IDS, UNITS).pack([0] * 5))
    assert found.ids.tolist() == sorted(IDS.tolist())


def test_damage_is_noticed() -> None:
    content = bytearray(Scored(IDS, UNITS).test_set.dump())
    content[len(content) // 2] ^= 255
    with pytest.raises(ValueError, match=r"test set|CRC|format"):
        TestSet.load(bytes(content))
    packed = Scored(IDS, UNITS).pack([1, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="do not match 50 items"):
        unpack([packed], 50)
    with pytest.raises(ValueError, match="another format"):
        set_digest("2" + packed[1:])


def test_a_damaged_test_set_is_written_again(tmp_path: Path) -> None:
    name = CellName("reward_model", "digits", "ramp", 0.3, "symmetric", "small_cnn", 0)
    run, made = RunFolder(tmp_path, name, Identity({})), Scored(IDS, UNITS).test_set
    run.path.mkdir(parents=True)
    file = file_of_test_set(run.path, made.digest)
    for content in (None, b"", made.dump()[:-20], Scored(IDS, UNITS + 1).test_set.dump()):
        if content is not None:
            file.write_bytes(content)
        run.keep_test_set(made)
        assert TestSet.load(file.read_bytes()).digest == made.digest


def test_prompts_have_one_key_each() -> None:
    first, again, other = prompt_keys([[1, 2], [1, 2], [{"role": "user", "content": "x"}]])
    assert first == again != other
