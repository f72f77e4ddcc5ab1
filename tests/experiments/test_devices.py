"""GPUs are reserved, here made-up ones: no two programs compute on one."""

import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock, Timeout

from experiments import batches, devices
from hydra_plugins.sympo_batched_launcher import BatchedLauncher
from sympo.distributed import processes
from sympo.distributed.processes import Place
from sympo.types import BadInput


def fake(monkeypatch: pytest.MonkeyPatch, place: Path, names: list[str]) -> list[int | None]:
    """Devices of these names, and those that a process chose to use."""
    used: list[int | None] = []
    monkeypatch.setattr(devices, "count", lambda: len(names))
    monkeypatch.setattr(devices, "visible", lambda: names)
    monkeypatch.setattr(devices, "folder", lambda: place)
    monkeypatch.setattr(devices, "use", used.append)
    monkeypatch.setattr(devices, "SECONDS_BETWEEN_LOOKS", 0.01)
    return used


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[int | None]]:
    yield fake(monkeypatch, tmp_path, ["GPU-a", "GPU-b"])


def test_each_takes_a_device_of_its_own(two: list[int | None]) -> None:
    with devices.reserved(["cuda"]) as one, devices.reserved(["cuda"]) as other:
        assert (one, other) == ([0], [1]) and two == [0, 1]
    with devices.reserved(["cuda"], most=5) as all_of_them:
        assert all_of_them == [0, 1]
    with (
        devices.reserved(["cuda:1", "cuda:1"]) as named,
        devices.reserved(["cuda"], most=5) as rest,
    ):
        assert (named, rest) == ([1], [0])
    with devices.reserved(["cpu", "cpu"], most=5) as nothing:
        assert nothing == []


def test_an_error_frees_a_device(two: list[int | None]) -> None:
    with pytest.raises(KeyError), devices.reserved(["cuda"], most=2):
        raise KeyError
    with devices.reserved(["cuda"], most=2) as found:
        assert found == [0, 1]


def test_hidden_and_reordered_devices_are_the_same_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, two: list[int | None]
) -> None:
    with devices.reserved(["cuda:1"]):  # GPU-b
        fake(monkeypatch, tmp_path, ["GPU-b", "GPU-a"])
        with devices.reserved(["cuda"], most=2) as found:
            assert found == [1]


def test_one_of_several_processes_has_its_own(
    monkeypatch: pytest.MonkeyPatch, two: list[int | None]
) -> None:
    """And takes it after those of lower rank: of two programs, each would otherwise hold a device
    that the other waits for."""
    held: list[bool] = []
    locked = FileLock(devices.folder() / "GPU-b.lock")

    def wait() -> None:
        try:
            locked.acquire(timeout=0)
            locked.release()
            held.append(False)
        except Timeout:
            held.append(True)

    monkeypatch.setattr(processes, "wait", wait)
    monkeypatch.setattr(processes._group, "place", Place(1, 3, 1, 3, "torchrun"))
    with devices.reserved(["cuda"], most=2) as found:
        assert found == [1] and two == [1]
        assert held == [False, True, True]


def test_waiting_is_said(two: list[int | None]) -> None:
    class Said(Exception):
        pass

    def stop(text: str) -> None:
        raise Said(text)

    with devices.reserved(["cuda:0"]):
        with pytest.raises(Said, match=r"^waiting for cuda:0, which other runs on this machine"):
            devices.reserved(["cuda:0"], note=stop).__enter__()
        with (
            devices.reserved(["cuda"]),
            pytest.raises(Said, match=r"^waiting for cuda:0, cuda:1, which"),
        ):
            devices.reserved(["cuda"], note=stop).__enter__()


def _compute(place: str, times: int) -> None:
    """Uses a device again and again, and notes when."""
    with pytest.MonkeyPatch.context() as patch:
        fake(patch, Path(place), ["GPU-a", "GPU-b"])
        for number in range(times):
            with devices.reserved(["cuda"], note=lambda text: None) as (device,):
                began = time.monotonic()
                time.sleep(0.02)
                span = f"{device} {began} {time.monotonic()}"
            (Path(place) / f"{os.getpid()}-{number}.span").write_text(span)


def test_programs_never_share_a_device(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    programs = [spawn.Process(target=_compute, args=(str(tmp_path), 5)) for _ in range(4)]
    for program in programs:
        program.start()
    for program in programs:
        program.join(60)
    spans = defaultdict(list)
    for file in tmp_path.glob("*.span"):
        device, *span = map(float, file.read_text().split())
        spans[device].append(tuple(span))
    assert sum(map(len, spans.values())) == 20
    for found in spans.values():
        for (_, end), (begin, _) in zip(sorted(found), sorted(found)[1:], strict=False):
            assert begin >= end


def test_a_killed_program_frees_its_device(tmp_path: Path, two: list[int | None]) -> None:
    fork = multiprocessing.get_context("fork")
    held = fork.Event()

    def hold() -> None:
        with devices.reserved(["cuda:0"]):
            held.set()
            time.sleep(60)

    program = fork.Process(target=hold)
    program.start()
    assert held.wait(10)
    program.kill()
    program.join()
    with devices.reserved(["cuda:0"]) as found:
        assert found == [0]


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert devices.folder().parent == tmp_path and devices.folder().stat().st_mode & 0o077 == 0
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(BadInput, match="belongs to someone else: remove it, or set TMPDIR"):
        devices.folder()


class Made:
    """A planned cell that is trained alone, or with others, as far as a launcher looks at it."""

    def __init__(self, device: str, alone: bool = True) -> None:
        self.cell, self.name, self.seed = self, self, 0  # also its own name
        self.device, self.judge, self.since, self.distributed = device, None, 0.0, False
        self.config: dict[str, Any] = dict.fromkeys(batches.SAME_WORK)
        self.config["progress"] = {"cell": 1}
        self.folder = SimpleNamespace(completed_since=lambda since: False)
        self.job = SimpleNamespace(trained_with=lambda cell: None if alone else "kind")


def test_a_sweep_takes_the_free_devices(
    two: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: list[Any] = [Made("cuda") for _ in range(3)]
    assert batches.useful_processes(cells, devices=2) == 2
    assert batches.useful_processes([Made("cuda:0")] * 3, devices=2) == 1  # type: ignore[list-item]
    together: list[Any] = [Made("cuda", alone=False)] * 3
    assert batches.useful_processes(together, devices=2) == 1
    asked: list[Any] = []

    def in_processes(cells: Any, processes: int, screen: Any, taken: Any) -> Any:
        asked.extend([processes, list(taken)])
        return [[None]] * len(cells)

    def here(cells: Any, after: Any, screen: Any) -> Any:
        asked.append("here")
        return [None]

    monkeypatch.setattr(batches, "run_in_processes", in_processes)
    monkeypatch.setattr("sympo.pipelines.runner.run_cells", here)

    def launched(**settings: Any) -> Any:
        asked.clear()
        launcher = BatchedLauncher(**settings)
        monkeypatch.setattr(
            "hydra_plugins.sympo_batched_launcher.planned_cell",
            lambda loader, config, overrides: cells[int(overrides[0])],
        )
        launcher.loader = launcher.config = None  # type: ignore[assignment]
        launcher.launch([["0"], ["1"], ["2"]], 0)
        return asked

    assert launched() == [2, [0, 1]]
    # on purpose, several on a device
    assert launched(processes=3) == [3, [0, 1]]
    with devices.reserved(["cuda:0"]):
        assert launched() == ["here"] * 3 and two[-1] == 1
        assert launched(processes=3) == [3, [1]]


def test_processes_get_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[batches.Setting] = []

    class Worker:
        def __init__(self, place: int, setting: batches.Setting) -> None:
            given.append(setting)

        def give(self, *_: Any, **__: Any) -> None: ...

        def end(self) -> None: ...

    monkeypatch.setattr(batches, "_Worker", Worker)
    monkeypatch.setattr(batches, "cores", lambda: 8)
    for count, taken, expected in [
        (2, [], [(4, None), (4, None)]),
        (3, [1, 0], [(2, 1), (2, 0), (2, 1)]),
        (9, [], [(1, None)] * 9),
    ]:
        given.clear()
        batches.run_in_processes([], count, None, taken)  # type: ignore[arg-type]
        assert [(one.threads, one.device) for one in given] == expected
