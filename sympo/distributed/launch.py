"""Joins the processes that torchrun or srun started: the setting `distributed`."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from sympo.distributed import processes
from sympo.distributed.processes import Place
from sympo.types import BadInput

Strategy = Literal["none", "ddp", "fsdp"]

SECONDS_TO_JOIN = 300
# the longest that a process may be late for a sum; waiting for the first process has no limit
SECONDS_FOR_A_SUM = 600
SECONDS_WITHOUT_LIMIT = 7 * 24 * 3600
# that a process waits before it ends with an error which the first one reports
SECONDS_TO_REPORT = 5
# Hydra's launchers that run the cells of a sweep in the processes that torchrun or srun started
IN_THESE_PROCESSES = ("batched", "basic")


def place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place among those of torchrun or of a SLURM step; None if it is alone.

    Raises BadInput if the launcher's variables are incomplete.
    """
    names = {
        "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
        "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    }
    for launcher, (rank, size, local_rank, *more) in names.items():
        if not environment.get(size):
            continue
        try:
            numbers = {name: int(environment[name]) for name in (rank, size, local_rank)}
            here = int(environment[more[0]]) if more else _tasks_here(environment)
        except (KeyError, ValueError) as error:
            raise BadInput(
                f"{size}={environment[size]} is not allowed without {rank} and {local_rank}, whole "
                f"numbers which {launcher} sets: start run.py by torchrun or srun"
            ) from error
        return Place(numbers[rank], numbers[size], numbers[local_rank], here, launcher)
    return None


def _tasks_here(environment: Mapping[str, str]) -> int:
    """The tasks on this node, from SLURM's list of them by node, such as `2(x3),1`."""
    counts: list[int] = []
    for part in environment["SLURM_STEP_TASKS_PER_NODE"].split(","):
        tasks, _, times = part.rstrip(")").partition("(x")
        counts += [int(tasks)] * int(times or 1)
    return counts[int(environment.get("SLURM_NODEID", 0))]


def join(strategy: Strategy, device: str) -> None:
    """Join the group of processes that train each cell together, once; does nothing for `none`.

    Afterwards every process but the first is silent, each has its own GPU, and they stop together.
    device: the setting. Raises BadInput if there is no group, or a group that would not be used.
    """
    if strategy == "none":
        if (size := os.environ.get("WORLD_SIZE", "")) not in ("", "1"):
            raise BadInput(
                f"WORLD_SIZE={size} is not allowed with distributed=none: add distributed=ddp to "
                "train each cell by all processes, or start run.py without torchrun, once per GPU, "
                "and the processes share the sweep"
            )
        return
    if processes.joined():
        return
    if (found := place()) is None:
        raise BadInput(
            f"distributed={strategy} needs processes: start it by `torchrun --nproc-per-node N "
            f"run.py distributed={strategy} ...`, or by `srun` under SLURM"
        )
    _connect(strategy, found, _backend(strategy, found, device))
    if found.rank:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115, until the process ends


def refuse(strategy: str, job: str) -> None:
    """Refuse a group of processes for a job that does not train cells together by all of them;
    raises BadInput."""
    if strategy != "none":
        raise BadInput(
            f"distributed={strategy} is not allowed with job={job}: it works with job=policy"
        )
    join("none", "")


def refuse_launcher(strategy: str, launcher: str) -> None:
    """Refuse a launcher of Hydra that starts one process per cell if several are to train it;
    raises BadInput."""
    if strategy != "none" and launcher not in IN_THESE_PROCESSES:
        allowed = " or ".join(f"hydra/launcher={name}" for name in IN_THESE_PROCESSES)
        raise BadInput(
            f"distributed={strategy} is not allowed with hydra/launcher={launcher}, which starts "
            f"one process per cell: use {allowed}, and start run.py by torchrun or srun"
        )


def _backend(strategy: str, found: Place, device: str) -> str:
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "gloo"
    if device not in ("auto", "cuda"):
        raise BadInput(
            f"device={device} is not allowed with distributed={strategy}, where each process has "
            "its own GPU: use auto, cuda or cpu"
        )
    if found.local_rank >= torch.cuda.device_count():
        raise BadInput(
            f"distributed={strategy} needs a GPU for each process: this machine has "
            f"{torch.cuda.device_count()} for {found.local_size} processes; start fewer, or use "
            "device=cpu"
        )
    torch.cuda.set_device(found.local_rank)
    return "cpu:gloo,cuda:nccl"


def _connect(strategy: str, found: Place, backend: str) -> None:
    import torch.distributed as dist
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    from sympo.distributed import watch

    host, port = _address(found)
    hosts = found.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    limit = timedelta(seconds=SECONDS_TO_JOIN)
    prefix = f"sympo-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    try:
        stores = [
            PrefixStore(prefix, TCPStore(host, port, None, one, timeout=limit))
            for one in (hosts, False)
        ]
        dist.init_process_group(
            backend, store=stores[0], rank=found.rank, world_size=found.size,
            timeout=timedelta(seconds=SECONDS_FOR_A_SUM),
        )  # fmt: skip
        patient = timedelta(seconds=SECONDS_WITHOUT_LIMIT)
        control: Any = dist.new_group(backend="gloo", timeout=patient)
    except (dist.DistError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"distributed={strategy}: the {found.size} processes did not meet at {host}:{port} "
            f"within {SECONDS_TO_JOIN} s: {reason}"
        ) from error
    processes.set_group(found, control)
    watch.start(stores[1], found)


def _address(found: Place) -> tuple[str, int]:
    """Host and port at which the processes meet."""
    environment = os.environ
    if found.launcher == "torchrun":
        return environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    # a port of the step's own, outside the range that systems hand out
    number = 10 * int(environment["SLURM_JOB_ID"]) + int(environment["SLURM_STEP_ID"])
    port = int(environment.get("MASTER_PORT", 15_000 + number % 15_000))
    if "MASTER_ADDR" in environment:
        return environment["MASTER_ADDR"], port
    nodes = environment["SLURM_STEP_NODELIST"]
    if not set(nodes) & set("[,"):
        return nodes, port
    listed = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    )
    return listed.stdout.split()[0], port


def reports() -> bool:
    """Whether this process reports an error that all have; another one waits for it to do so,
    because torchrun ends all processes once one has ended."""
    follows = processes.rank() > 0 or os.environ.get("RANK", "0") not in ("", "0")
    if follows:
        time.sleep(SECONDS_TO_REPORT)
    return not follows


def leave(code: int) -> None:
    """End the process, if it is one of a group: after the others if all went well (0 or 1)."""
    if not processes.joined():
        return
    from sympo.distributed import watch

    if code in (0, 1):
        processes.wait()
    watch.end()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # threads of gloo still run, and abort now and then when the interpreter ends
    os._exit(code)
