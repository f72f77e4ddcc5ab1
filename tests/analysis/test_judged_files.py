import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from sympo.analysis import Collection
from sympo.judges.cache import VerdictCache
from sympo.judges.judged_file import JudgedFile
from sympo.judges.judging import judge_answers
from sympo.judges.samples import Samples
from sympo.protocols.judging import Judge, OnVerdict
from sympo.types import Comparison, Verdict
from tests.analysis.synthetic import write_policy_sweep, write_run
from tests.analysis.synthetic_judged import judge_run


def policies(runs, rates=(0.1, 0.3), seeds=(0,), **settings):
    """The folders of ramp policies, by rate and seed."""
    write_policy_sweep(runs, {"ramp": None}, list(rates), list(seeds), gold=False, **settings)
    return sorted(runs.glob("*/*/*/noise=*/seed=*"))


@dataclass(frozen=True, kw_only=True)
class Longer(Judge):
    """Prefers the longer answer, unless both begin alike: then the one shown first."""

    def compare(self, comparisons: Sequence[Comparison], on_verdict: OnVerdict) -> None:
        for number, one in enumerate(comparisons):
            longer = 1.0 if len(one.first) > len(one.second) else 0.0
            alike = one.first[0] == one.second[0]
            on_verdict(number, Verdict(1.0 if alike else longer, "words"))


def test_what_judging_leaves_is_merged_and_estimated_as_judging_does(tmp_path):
    judged, _ = policies(tmp_path / "runs")
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ab"), size)) for size in rng.integers(1, 9, 160)]
    (judged / "samples").mkdir()
    (judged / "samples/last.jsonl").write_text(
        "".join(
            json.dumps({"id": k, "prompt": f"{k % 30}?", "policy": a, "chosen": b}) + "\n"
            for k, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))
        )
    )
    judge = Longer(samples=["last"])
    samples, file = Samples(judged, "last"), JudgedFile(judged, "longer", judge)
    cache = VerdictCache(tmp_path / "verdicts.sqlite", judge)
    file.add(samples, judge_answers(judge, samples.lines("chosen"), cache, lambda *_: None))
    cache.close()

    collection = Collection.from_runs(tmp_path / "runs")
    columns = [name for name in collection.cells if "/judge/" in name]
    told = file.metrics("last")
    assert columns == [f"last/judge/longer/{name}" for name in told]
    np.testing.assert_array_equal(collection.cells.loc[0, columns].tolist(), [*told.values()])
    assert collection.cells.loc[1, columns].isna().all()
    (row,) = collection.judging.judges.to_dict("records")
    assert (row["cells"], row["items"], row["prompts"]) == (1, 80, 30)
    for name in ("tie_rate", "invalid_rate"):
        assert row[name] == told[name]
    for name in ("win_rate", "first_shown_wins", "authors_win_rate"):
        for end in ("", "_low", "_high"):
            assert row[name + end] == pytest.approx(told[name + end], abs=1e-12)
    assert row["first_shown_wins"] > 0.5 > row["authors_win_rate"]
    assert 0 < row["equal_rate"] < 0.1


def test_configs_of_one_judge_are_told_apart_by_what_differs(tmp_path):
    (folder,) = policies(tmp_path, rates=[0.1])
    judge_run(folder)
    judge_run(folder, protocol="authors")
    judge_run(folder, "openai", model="a/b", prompt={"helpful": "x" * 50})
    judge_run(folder, "openai", model="a/b", prompt={"helpful": "y" * 50})
    cells = Collection.from_runs(tmp_path).cells
    labels = sorted({name.split("/judge/")[1] for name in cells if name.endswith("/win_rate")})
    assert labels[:2] == [
        "gold (protocol=authors)/win_rate",
        "gold (protocol=both_orders)/win_rate",
    ]
    # the texts of prompts are told apart by a hash
    assert len(labels) == 4
    assert all(
        len(label) == len("openai (prompt.helpful=12345678)/win_rate") for label in labels[2:]
    )


def test_a_label_holds_the_fewest_settings_that_tell_judges_apart(tmp_path):
    (folder,) = policies(tmp_path, rates=[0.1])
    for model, port, seed in (("a", 1, 0), ("b", 2, 0), ("b", 3, 1)):
        base_url = f"http://localhost:800{port}"
        judge_run(folder, "served", model=model, base_url=base_url, seed=seed, which=("last",))
    for model, server in (("a", "one"), ("b", "two")):
        judge_run(folder, "short", model=model, base_url=f"http://{server}", which=("last",))
    judges = Collection.from_runs(tmp_path).judging.judges
    assert judges["judge"].tolist() == [
        "served (base_url=http://localhost:8001)",
        "served (base_url=http://localhost:8002)",
        "served (base_url=http://localhost:8003)",
        "short (model=a)",
        "short (model=b)",
    ]


def test_a_setting_that_follows_from_the_data_set_tells_no_judges_apart(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.1], [0, 1], gold=True)
    write_policy_sweep(tmp_path, {"ramp": None}, [0.1], [0, 1], gold=False)
    for folder in tmp_path.glob("*/*/*/noise=*/seed=*"):
        judge_run(folder, language=folder.parts[-4])
    collection = Collection.from_runs(tmp_path)
    assert collection.cells["last/judge/gold/win_rate"].notna().all()
    assert collection.judging.judges["dataset"].tolist() == ["gold_language"] * 2 + ["hh"] * 2


def test_a_judged_file_that_cannot_be_read_is_left_out(tmp_path, caplog):
    folders = policies(tmp_path)
    for folder in folders:
        judge_run(folder, which=("last",))
    (broken,) = (folders[0] / "judges").iterdir()
    broken.write_text('{"judge": "gold", "samples": {"last": {}}}')
    cells = Collection.from_runs(tmp_path).cells
    assert cells["last/judge/gold/win_rate"].notna().tolist() == [False, True]
    assert [str(broken) in record.getMessage() for record in caplog.records] == [True]


def test_judging_survives_a_round_trip_through_csv(tmp_path):
    write_policy_sweep(tmp_path / "runs", {"ramp": None, "hinge": None}, [0.1, 0.3], [0, 1])
    for folder in (tmp_path / "runs").glob("*/*/*/noise=*/seed=*"):
        asked = {"prompts_of": folder.name[:6], "equal": 2}
        judge_run(folder, **asked)
        judge_run(folder, "human", which=("last",), items=20, protocol="one_order", **asked)
    for seed, schedule in enumerate(("cosine", "linear")):  # a setting that no policy has
        write_run(tmp_path / "runs", seed=seed, schedule=schedule)
    collection = Collection.from_runs(tmp_path / "runs")
    assert "schedule" in collection.judging.judges
    names = {file.name for file in collection.write(tmp_path / "out")}
    assert {"judges.csv", "agreement.csv", "judged_differences.csv"} <= names
    again = Collection.read(tmp_path / "out")
    pd.testing.assert_frame_equal(again.cells, collection.cells)
    for name in ("judges", "agreement", "differences"):
        left, right = getattr(again.judging, name), getattr(collection.judging, name)
        pd.testing.assert_frame_equal(left, right)
        assert len(right)


def test_without_judges_nothing_is_written_of_them(tmp_path):
    policies(tmp_path / "runs")
    collection = Collection.from_runs(tmp_path / "runs")
    names = {file.name for file in collection.write(tmp_path / "out")}
    assert names == {"cells.csv", "curves.csv"}
    assert Collection.read(tmp_path / "out").judging.judges.empty


def test_judges_of_earlier_versions_have_the_same_label(tmp_path):
    write_policy_sweep(tmp_path, {"ramp": None}, [0.3], [0, 1, 2], gold=False)
    old = {"judge": "sympo.judges.openai.OpenAI", "model": "a", "temperature": 0}
    for folder, config in zip(
        sorted(tmp_path.glob("*/*/*/*/seed=*")),
        (old, {"judge": "openai", "model": "a"}, {"judge": "openai", "model": "b"}),
        strict=True,
    ):
        judge_run(folder, "gpt", **config)
    cells = Collection.from_runs(tmp_path).cells
    labels = {name.split("/judge/")[1] for name in cells if name.endswith("/win_rate")}
    assert labels == {"gpt (model=a)/win_rate", "gpt (model=b)/win_rate"}
