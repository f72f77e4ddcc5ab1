"""Cells of several versions of the code are compared by their settings alone."""

import pytest

from sympo.analysis import Collection, run_files, summarise
from sympo.analysis.frames import settings
from tests.analysis.synthetic import as_format_1, policy_history, write_run, write_sweep


def columns(runs) -> list[str]:
    return settings(Collection.from_runs(runs).cells)


def model(name="small_cnn", **more):
    return {"_identity_": name, **more}


@pytest.mark.parametrize("together", [2048, 1])
def test_a_setting_added_later_splits_no_group(tmp_path, monkeypatch, together):
    monkeypatch.setattr(run_files, "_TOGETHER", together)
    write_run(tmp_path, seed=0, model=model())
    write_run(tmp_path, seed=1, model=model(clamp=None, depth=2),
              at_default=["model.clamp", "model.depth"])  # fmt: skip
    write_run(tmp_path, seed=2, model=model(clamp=None, depth=3), at_default=["model.clamp"])
    cells = Collection.from_runs(tmp_path).cells
    assert settings(cells) == ["model.depth"]
    assert cells["model.depth"].tolist() == [2, 2, 3]
    assert summarise(cells, "last/test/order_accuracy")["n_seeds"].tolist() == [2, 1]


def test_a_null_that_was_set_is_not_the_default(tmp_path):
    write_run(tmp_path, seed=0, model=model())
    write_run(tmp_path, seed=1, model=model(clamp=5.0), at_default=["model.clamp"])
    write_run(tmp_path, seed=2, model=model(clamp=None))
    cells = Collection.from_runs(tmp_path).cells
    assert cells["model.clamp"].isna().tolist() == [False, False, True]


def test_a_default_is_that_of_its_class(tmp_path):
    for seed, name, beta in [(0, "dpo", 0.1), (1, "dpo", 0), (2, "simpo", 2.0), (3, "simpo", 0)]:
        margin = {"_identity_": name} | ({"beta": beta} if beta else {})
        default = ["margin.beta"] if beta else []
        write_run(tmp_path, seed=seed, margin=margin, at_default=default)
    write_run(tmp_path, seed=4, margin={"_identity_": "ipo"})  # has no such setting
    cells = Collection.from_runs(tmp_path).cells
    assert cells["margin.beta"].fillna(0).tolist() == [0.1, 0.1, 2, 2, 0]
    assert summarise(cells, "last/test/order_accuracy")["n_seeds"].tolist() == [2, 1, 2]


def test_a_part_added_later_at_its_default_splits_no_group(tmp_path):
    write_run(tmp_path, seed=0)
    sampler = {"_identity_": "greedy", "steps": 1}
    write_run(tmp_path, seed=1, sampler=sampler,
              at_default=["sampler._identity_", "sampler.steps"])  # fmt: skip
    assert columns(tmp_path) == []


def test_what_no_version_calls_a_default_differs(tmp_path):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, extra={"clip": 1})
    assert columns(tmp_path) == ["extra.clip"]


def test_the_class_of_a_part_differs_beyond_its_option(tmp_path):
    write_run(tmp_path, seed=0, margin={"_identity_": "dpo"})
    write_run(tmp_path, seed=1, margin={"_identity_": "simpo"})
    write_run(tmp_path, seed=1, loss="ramp", margin={"_identity_": "dpo"})
    assert columns(tmp_path) == ["margin._identity_"]


def test_format_1_is_read_as_before(tmp_path):
    write_sweep(tmp_path, {"ramp": None, "cdpo": "true"}, [0.1, 0.3], [0, 1])
    write_run(tmp_path, epochs=30)
    write_run(tmp_path, seed=1, model={"_identity_": "other"}, tag="other")
    for folder in tmp_path.glob("*/*/*/*/seed=*"):
        as_format_1(folder)
    cells = Collection.from_runs(tmp_path).cells
    assert settings(cells) == [
        "job.epochs", "loss.assumed_rate", "model._target_", "model.channels",
    ]  # fmt: skip


def test_formats_are_compared_on_common_ground(tmp_path):
    losses = {"ramp": None, "truncated_hinge": None, "cdpo": "true"}
    write_sweep(tmp_path, losses, [0.1, 0.3], [0])
    for folder in tmp_path.glob("*/*/*/*/seed=0*"):
        as_format_1(folder, model="sympo.models.Renamed")
    write_sweep(tmp_path, losses, [0.1, 0.3], [1], at_default=["job.warmup"],
                job_config={"kind": "new"})  # fmt: skip
    cells = Collection.from_runs(tmp_path).cells
    # assumed_rate differs within cdpo; a setting that is no default differs
    assert settings(cells) == ["job_config.kind", "loss.assumed_rate"]


def test_a_setting_that_one_format_lacks_is_the_default_of_the_other(tmp_path):
    write_run(tmp_path, seed=0, model=model(gone=7))
    write_run(tmp_path, seed=1, model=model(gone=7))
    for folder in tmp_path.glob("*/*/*/*/seed=*"):
        as_format_1(folder)
    write_run(tmp_path, seed=2, model=model(added=1), at_default=["model.added"])
    assert columns(tmp_path) == []
    as_format_1(write_run(tmp_path, seed=3, model=model(gone=8)))
    assert columns(tmp_path) == ["model.gone"]


def test_a_part_that_format_1_lacks_splits_no_group(tmp_path):
    for seed in (0, 1):
        for job in ("reward_model", "policy"):
            parts = {"job": {"_identity_": job, "epochs": 10}}
            sampler = {"_identity_": "transformers", "batch": 8}
            new = {"sampler": sampler} if (seed, job) == (1, "policy") else {}
            default = ["sampler.batch"] if new else []
            history = None if job == "reward_model" else policy_history("ramp", 0.1, seed)
            folder = write_run(tmp_path, seed=seed, job=job, history=history, at_default=default,
                               settings=parts | new)  # fmt: skip
            if seed == 0:
                as_format_1(folder)
    assert columns(tmp_path) == []
    other = {"job": parts["job"], "sampler": sampler | {"_identity_": "vllm"}}
    history = policy_history("ramp", 0.1, 2)
    write_run(tmp_path, seed=2, job="policy", history=history, settings=other)
    # which sampler the first ones had is unknown now
    assert columns(tmp_path) == ["sampler._identity_", "sampler.batch"]


def test_margins_of_both_formats_are_told_apart(tmp_path):
    for seed, name in ((0, "dpo"), (0, "sim_po")):
        as_format_1(write_run(tmp_path, seed=seed, tag=name, margin={"_identity_": name}))
    for seed, name in ((1, "dpo"), (1, "simpo")):
        write_run(tmp_path, seed=seed, tag=name, margin={"_identity_": name})
    table = summarise(Collection.from_runs(tmp_path).cells, "last/test/order_accuracy")
    assert table["margin._identity_"].tolist() == ["dpo", "simpo"]
    assert table["n_seeds"].tolist() == [2, 2]
