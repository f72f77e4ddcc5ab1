"""Which processes may train a cell together, refused in one sentence otherwise."""

import pytest

from experiments.cells import prepare
from sympo.distributed import launch
from sympo.distributed.processes import Place
from sympo.sampling import VLLM
from sympo.types import BadInput
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
SRUN = {
    "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "7", "SLURM_LOCALID": "1", "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),3",
}  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, *SRUN):
        monkeypatch.delenv(name, raising=False)


def test_places_of_torchrun_and_srun() -> None:
    assert launch.place({}) is None and launch.place({"WORLD_SIZE": ""}) is None
    assert launch.place(TORCHRUN) == Place(3, 4, 1, 2, "torchrun")
    assert launch.place(SRUN) == Place(5, 7, 1, 3, "srun")
    with pytest.raises(BadInput, match="WORLD_SIZE=2 is not allowed without RANK and LOCAL_RANK"):
        launch.place({"WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["distributed=dpp"], "distributed='dpp' is not allowed: it must be"),
        (["distributed=ddp"], "start it by `torchrun --nproc-per-node N run.py distributed=ddp"),
    ],
)
def test_wrong_settings_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(BadInput) as error:
        prepare(*composed(*SMALL_POLICY, "device=cpu", *overrides))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_jobs_that_train_in_one_process_are_refused() -> None:
    for overrides in (["job=reward_model"], ["dataset=gold_language"]):
        with pytest.raises(BadInput, match="distributed=ddp is not allowed with job=reward_model"):
            prepare(*composed(*overrides, "distributed=ddp"))


@pytest.mark.parametrize("launcher", ["joblib", "submitit_slurm", "other"])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_launchers_of_one_process_per_cell_are_refused(
    monkeypatch: pytest.MonkeyPatch, launcher: str, strategy: str
) -> None:
    monkeypatch.setattr(launch, "join", pytest.fail)  # before the processes meet
    config, choices = composed(*SMALL_POLICY, "device=cpu", f"distributed={strategy}")
    choices["hydra/launcher"] = launcher
    with pytest.raises(BadInput) as error:
        prepare(config, choices)
    assert str(error.value) == (
        f"distributed={strategy} is not allowed with hydra/launcher={launcher}, which starts one "
        "process per cell: use hydra/launcher=batched or hydra/launcher=basic, and start run.py "
        "by torchrun or srun"
    )


def test_launchers_that_run_cells_in_their_process_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined: list[str] = []
    monkeypatch.setattr(launch, "join", lambda strategy, _: joined.append(strategy))
    for launcher in ("batched", "basic"):
        cell = (*SMALL_POLICY, "device=cpu", "distributed=ddp", f"hydra/launcher={launcher}")
        prepare(*composed(*cell))
    assert joined == ["ddp", "ddp"]


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_processes_choose_their_own_gpus(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=f"device={device} is not allowed with distributed=ddp"):
        launch.join("ddp", device)


def test_samplers_that_processes_cannot_share_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "join", lambda *_: None)
    monkeypatch.setattr(VLLM, "check", lambda *_: None)
    with pytest.raises(BadInput, match="sampler=vllm cannot be shared by processes"):
        prepare(*composed(*SMALL_POLICY, "device=cpu", "distributed=ddp", "sampler=vllm"))


@pytest.mark.parametrize("setting", ["model.lora_rank=2", "job.compile=true"])
def test_what_divided_weights_do_not_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(launch, "join", lambda *_: None)
    with pytest.raises(BadInput, match=f"{setting} is not allowed with distributed=fsdp"):
        prepare(*composed(*SMALL_POLICY, "device=cpu", "distributed=fsdp", setting))


@pytest.mark.parametrize("size", ["2", "many"])
def test_torchrun_without_the_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(BadInput, match=f"WORLD_SIZE={size} is not allowed .*distributed=ddp"):
        prepare(*composed())
    for alone in ("", "1"):
        monkeypatch.setenv("WORLD_SIZE", alone)
        prepare(*composed())


def test_one_process_reports_an_error_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "SECONDS_TO_REPORT", 0)
    for rank, reports in (("", True), ("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert launch.reports() == reports
