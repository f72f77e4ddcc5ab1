"""SLURM's queue, as squeue shows it: no accounting is needed."""

import os
import re
import subprocess
from dataclasses import dataclass

# a task in one of these does not run again, unless it is queued again
ENDED = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
        "PREEMPTED", "REVOKED", "TIMEOUT",
    }
)  # fmt: skip
# reasons for which a task that is pending does not start until somebody changes something
STUCK = re.compile(
    r"Partition(TimeLimit|NodeLimit|Down|Inactive|Config)|BadConstraints|Invalid(Account|QOS)|"
    r"AccountNotAllowed|QOSNotAllowed|\w+Max(\w*PerJob|Wall)\w*|"
    r"Nodes_required_for_job_are_DOWN.*|ReqNodeNotAvail.*"
)
SECONDS_FOR_AN_ANSWER = 60


@dataclass(frozen=True)
class TaskState:
    """The state of a task, such as PENDING, and SLURM's reason for it, such as Resources."""

    state: str
    reason: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def held(self) -> bool:
        """Whether the task waits until a person releases it."""
        return self.state in ("PENDING", "SPECIAL_EXIT", "REQUEUE_HOLD") and (
            "held" in self.reason.lower()
        )

    @property
    def stuck(self) -> bool:
        """Whether the task does not start unless somebody changes its settings or the cluster."""
        return self.state == "PENDING" and (
            STUCK.fullmatch(self.reason.replace(" ", "_")) is not None
        )


def states() -> dict[str, TaskState] | None:
    """This user's tasks by their number (`12_0` for a task of an array, `12` for a job), ended ones
    as long as the controller remembers them; None if it does not answer."""
    # not --jobs=..., which fails once the controller has forgotten the job
    asked = ["squeue", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%r"]
    try:
        answer = subprocess.run(
            [*asked, f"--user={os.getuid()}"],
            capture_output=True, text=True, check=True, timeout=SECONDS_FOR_AN_ANSWER,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return parsed(answer.stdout)


def parsed(answer: str) -> dict[str, TaskState]:
    """The lines that `states` asks for: `array|index|state|reason`."""
    found = {}
    for line in answer.splitlines():
        job, index, state, reason = line.split("|", 3)
        task = f"{job}_{index}" if index.isdigit() else job
        found[task] = TaskState(state.strip(), reason.strip())
    return found
