"""Which cells are trained together, in which processes, and what a failure costs."""

import itertools
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from omegaconf import OmegaConf

from experiments import batches
from experiments.cells import Planned, prepare
from sympo.pipelines.runner import run_cells
from sympo.process import start_worker
from sympo.runs.folder import RunFolder
from tests.helpers.commands import SMALL_IMAGES as SMALL
from tests.helpers.commands import cells, run, start
from tests.helpers.configs import composed

LOSSES, RATES = ("ramp", "logistic", "sigmoid"), ("0", "0.2", "0.4")


class Lines:
    """A screen that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, place: int, text: str) -> None:
        self.said.append(text)

    def live(self, place: int, text: str) -> None:
        pass


def planned(folder: Path, *more: str, seeds: Sequence[int] = (0,)) -> list[Planned]:
    found = []
    for loss, noise, seed in itertools.product(LOSSES, RATES, seeds):
        config, choices = composed(
            f"loss={loss}", f"noise={noise}", f"seed={seed}", f"results_dir={folder}", *SMALL,
            "wandb.mode=disabled", *more,
        )  # fmt: skip
        found.append(Planned(prepare(config, choices), dict(choices)))
    return found


def test_cells_of_a_kind_go_together_in_equal_batches(tmp_path: Path) -> None:
    found = planned(tmp_path, seeds=(0, 1, 2)) + planned(tmp_path, "job.epochs=3")
    groups = batches.batches(found, most=8, processes=2)
    assert sorted(number for group in groups for number in group) == list(range(36))
    # 27 cells of one length of training and 9 of another, for two processes
    assert sorted(map(len, groups)) == [4, 5, 6, 7, 7, 7]
    for group in groups:
        assert len({found[number].cell.job.epochs for number in group}) == 1
        seeds = [found[number].cell.name.seed for number in group]
        assert seeds == sorted(seeds)


def test_jobs_that_share_nothing_go_alone(tmp_path: Path) -> None:
    found = planned(tmp_path, "job=policy", "job.precision=bfloat16")[:3]
    assert batches.batches(found, processes=4) == [[0], [1], [2]]


def test_small_policies_of_a_seed_go_together(tmp_path: Path) -> None:
    found = planned(tmp_path, "job=policy", seeds=(0, 1))
    groups = batches.batches(found, most=5)
    assert sorted(map(len, groups)) == [4, 4, 5, 5]
    for group in groups:
        assert len({found[number].cell.name.seed for number in group}) == 1
    # a model with adapters, or one that reads another vocabulary, is trained alone
    alone = planned(tmp_path, "job=policy", "model.lora_rank=2")[:2]
    assert batches.batches(alone) == [[0], [1]]


def test_small_sweeps_need_no_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "cores", lambda: 4)
    small, large = planned(tmp_path), planned(tmp_path, "job.epochs=1000")
    assert batches.useful_processes(small) == 1
    assert batches.useful_processes(large) == 4
    assert batches.useful_processes(planned(tmp_path, "job.epochs=1000", "threads=2")) == 2
    alone = planned(tmp_path, "job=policy", "job.precision=bfloat16")
    assert batches.useful_processes(large[:1] + alone) == 1


def summaries(folder: Path) -> dict[str, Any]:
    return {
        key: json.loads((path / "summary.json").read_text()) for key, path in cells(folder).items()
    }


def test_launchers_leave_the_same(tmp_path: Path) -> None:
    sweep = ["-m", "loss=ramp,logistic", "noise=0,0.4", "seed=0,1", *SMALL, "wandb.group=one"]
    for launcher, options in {
        "batched": ["hydra.launcher.processes=2"], "basic": ["hydra/launcher=basic"],
    }.items():  # fmt: skip
        code, _, err = run(tmp_path / launcher, *sweep, *options)
        assert code == 0, err
    one, other = (summaries(tmp_path / launcher) for launcher in ("batched", "basic"))
    assert one.keys() == other.keys() and len(one) == 8
    for key, summary in one.items():
        assert summary["trained_together"] == 4 and other[key]["trained_together"] == 1
        for name in ("hash", "config", "versions", "git_commit", "device"):
            assert summary[name] == other[key][name]
        for when in ("last", "selected"):
            assert summary[when] == pytest.approx(other[key][when], abs=1e-6)
    for key, path in cells(tmp_path / "batched").items():
        same = cells(tmp_path / "basic")[key]
        assert {file.name for file in path.iterdir()} == {file.name for file in same.iterdir()}
        configs = [OmegaConf.load(folder / "config.yaml") for folder in (path, same)]
        for config in configs:
            for run_only in ("results_dir", "report_dir", "progress"):
                del config[run_only]
        assert configs[0] == configs[1]


def test_one_cell_that_fails_is_found_in_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [one.cell for one in planned(tmp_path)]
    sizes, train = [], type(found[0].job).train

    def failing(job: Any, cells: Any, listener: Any) -> None:
        sizes.append(len(cells))
        if any(str(cell.name) == str(found[5].name) for cell in cells):
            raise MemoryError("too much")
        train(job, cells, listener)

    monkeypatch.setattr(type(found[0].job), "train", failing)
    screen = Lines()
    ended = run_cells(found, screen=screen)
    assert [one.status for one in ended] == ["complete"] * 5 + ["failed"] + ["complete"] * 3
    assert sizes == [9, 5, 4, 2, 1, 1, 2]
    assert "too much" in found[5].folder.error_log.read_text()
    assert [line for line in screen.said if "in halves" in line]


def test_a_cell_that_is_complete_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [one.cell for one in planned(tmp_path)]
    finish, finished = RunFolder.finish, []

    def fails_once(folder: RunFolder, *arguments: Any, **more: Any) -> None:
        finished.append(folder.name)
        if len(finished) == 3:
            raise OSError("the disk is full")
        finish(folder, *arguments, **more)

    monkeypatch.setattr(RunFolder, "finish", fails_once)
    ended = run_cells(found, screen=Lines())
    assert {one.status for one in ended} == {"complete"}
    assert len(finished) == 10 and len(set(finished)) == 9


def test_launchers_that_pickle_get_configs_without_locks(tmp_path: Path) -> None:
    (one,) = planned(tmp_path)[:1]
    base = OmegaConf.create({"hydra": {"overrides": {"task": []}}})
    sweeper = sys.modules["hydra_plugins.sympo_sweeper"]  # as Hydra has loaded it
    prepared = sweeper.PreparedConfigs()
    prepared.add(sweeper.Job(["loss=ramp"], base, OmegaConf.create({"loss": "ramp"}), {}), one.cell)
    sent = pickle.loads(pickle.dumps(prepared))
    assert sent.load_sweep_config(base, ["loss=ramp"]).loss == "ramp"


@pytest.mark.parametrize("setting", ["most_cells=0", "processes=-1", "processes=x"])
def test_settings_of_the_launcher_are_checked(tmp_path: Path, setting: str) -> None:
    results = tmp_path / "results"
    code, out, err = run(results, "-m", "noise=0,0.1", f"hydra.launcher.{setting}")
    assert code == 2 and out == ""
    assert err.startswith(f"error: hydra.launcher.{setting}") and "at least 1" in err
    assert not results.exists()


class Killing(Lines):
    """Kills the first worker when it first reports its progress."""

    def __init__(self, workers: list[subprocess.Popen[bytes]]) -> None:
        super().__init__()
        self.workers = workers

    def live(self, place: int, text: str) -> None:
        if not self.said:
            self.said.append(text)
            self.workers[0].kill()


def test_a_process_that_dies_takes_only_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers: list[subprocess.Popen[bytes]] = []

    def starts(*arguments: Any) -> subprocess.Popen[bytes]:
        workers.append(start_worker(*arguments))
        return workers[-1]

    monkeypatch.setattr(batches, "start_worker", starts)
    found = planned(tmp_path, "job.epochs=150")[:3] + planned(tmp_path)[3:]
    work = [found[:3], found[3:6], found[6:]]
    ended = batches.run_in_processes(work, 1, Killing(workers))
    states = [[one.status for one in batch] for batch in ended]
    assert states == [["failed"] * 3, ["complete"] * 3, ["complete"] * 3]
    assert "exited with code -9" in ended[0][0].error
    # run again, it goes on
    again = batches.run_in_processes(work, 1, Lines())
    assert [[one.status for one in batch] for batch in again] == [
        ["complete"] * 3, ["skipped"] * 3, ["skipped"] * 3,
    ]  # fmt: skip


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    sweep = ["-m", "loss=ramp,logistic", "noise=0,0.4", *SMALL, "job.epochs=4000"]
    process = start(tmp_path, *sweep, "hydra.launcher.processes=2")
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("runs/*/*/*/*/*/metrics.jsonl"))) < 4:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.communicate()
    folders = [path.parent for path in tmp_path.glob("runs/*/*/*/*/*/.lock")]
    for folder in folders:  # the system frees a lock when its process ends
        FileLock(folder / ".lock").acquire(timeout=10).lock.release()
        assert not (folder / "error.log").exists()


def test_a_killed_batch_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sympo.pipelines import image_reward_model
    from sympo.training.stacked_cells import CellTrainer

    monkeypatch.setattr(image_reward_model, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    sweep = [planned(tmp_path / name, "job.epochs=4") for name in ("undisturbed", "killed")]
    undisturbed, killed = ([one.cell for one in part] for part in sweep)
    assert {one.status for one in run_cells(undisturbed, screen=Lines())} == {"complete"}

    class Killed(BaseException):
        pass

    train_epoch, trained = CellTrainer.train_epoch, []

    def dies(trainer: CellTrainer) -> Any:
        if trainer.epoch == 3:
            raise Killed
        return train_epoch(trainer)

    monkeypatch.setattr(CellTrainer, "train_epoch", dies)
    with pytest.raises(Killed):
        run_cells(killed, screen=Lines())
    assert not any(cell.folder.complete for cell in killed)

    def counts(trainer: CellTrainer) -> Any:
        trained.append(trainer.epoch)
        return train_epoch(trainer)

    monkeypatch.setattr(CellTrainer, "train_epoch", counts)
    # a checkpoint that was torn, and one of another version
    killed[0].folder.checkpoint.write_bytes(b"torn")
    torch.save({"trainer": {"epoch": 1}}, killed[1].folder.checkpoint)
    screen = Lines()
    assert {one.status for one in run_cells(killed, screen=screen)} == {"complete"}
    assert trained == [0, 1, 2, 3, 3]
    assert len([line for line in screen.said if "resumes from epoch 3" in line]) == 1
    assert len([line for line in screen.said if "starts over" in line]) == 2
    for one, other in zip(undisturbed, killed, strict=True):
        lines = [
            [json.loads(line) for line in (cell.folder.path / "metrics.jsonl").open()]
            for cell in (one, other)
        ]
        assert len(lines[0]) == 4
        for a, b in zip(*lines, strict=True):
            assert a == pytest.approx(b, abs=1e-6)
        left, also = ({file.name for file in cell.folder.path.iterdir()} for cell in (one, other))
        assert also - left <= {"checkpoint.pt.damaged"} and left <= also


def test_cells_are_numbered_in_the_order_in_which_they_run() -> None:
    cells = [SimpleNamespace(config={"progress": {"cell": place}}) for place in (1, 2, 3, 4)]
    planned = [Planned(cell, {}) for cell in cells]  # type: ignore[arg-type]
    batches.number([[planned[0], planned[2]], [planned[1], planned[3]]])
    assert [cell.config["progress"]["cell"] for cell in cells] == [1, 3, 2, 4]
