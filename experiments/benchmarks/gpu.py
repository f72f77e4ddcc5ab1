"""All GPU measurements, in parts of less than ten minutes each.

    python -m experiments.benchmarks.gpu [PART ...] --data FOLDER [--peer FOLDER] [--out OUT]

The --data folder holds `MNIST/raw`, `hh-rlhf`, `ultrafeedback_binarized` and `gpt2_tokenizer`. The
--peer folder is `mnistpref` in a checkout of github.com/nissymori/SymPO. Parts, all of them by
default, the longest first: `3b-ultra`, `1b-ultra`, `3b-hh`, `1b-hh` (policies against TRL, on rows
of 2,048 and 512 tokens, 64 pairs a step), `1b-hh-reward` (text reward models against TRL), each of
these five again with `-compiled` (the layers of all engines compiled, and fewer of TRL's passes
tried, because every trial compiles), `cells` (cells per second up to 1,024), `grid` (the paper's
MNIST grid, from command to figure, into OUT), `authors` (images against the authors' loop, needs
--peer) and `tests` (tests that need a GPU).

Each part prints its commands and then which parts are done, failed or left. A part that takes
longer than --limit seconds is stopped. The others continue, and what it wrote so far stays. A part
that ends well leaves OUT/gpu_parts/PART.json; the same command resumes an interrupted run, and
skips the parts with such a file from the same card and the same sources.

All parts need torch (CUDA), torchvision, scipy, scikit-learn, pandas and matplotlib. `grid`,
`cells` and `authors` also need hydra-core, omegaconf, antlr4-python3-runtime, filelock and pyarrow;
the parts against TRL need these and transformers, accelerate, datasets (with dill, multiprocess,
xxhash), trl and, for Liger's kernels, liger-kernel; `tests` needs pytest and hypothesis. None needs
a network.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sympo.disk import write_atomically
from sympo.runs.provenance import git_commit, versions

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class AgainstTRL:
    """A comparison with TRL: its module, shape, rows and their tokens, TRL's pairs in a pass to
    try, timed steps, and whether layers are compiled."""

    module: str
    shape: str
    rows: str
    length: int
    tried: tuple[int, ...]
    steps: int
    compiled: bool = False

    def command(self, arguments: argparse.Namespace) -> list[str]:
        compiled = ("--compile",) * self.compiled
        name = f"{self.module}_{self.shape}_{self.rows}_{self.length}"
        return [
            "-m", f"experiments.benchmarks.{self.module}",
            "--data", str(arguments.data / ROWS[self.rows]),
            "--tokenizer", str(arguments.data / "gpt2_tokenizer"),
            "--device", arguments.device, "--out", str(arguments.out),
            "--shape", f"llama-3.2-{self.shape}", "--length", str(self.length),
            "--batch", "64", "--micro-batch", *map(str, self.tried), "--tokens", "16384", *compiled,
            "--warmup", "1", "--rounds", "1", "--steps", str(self.steps),
            "--name", name + "_compiled" * self.compiled,
        ]  # fmt: skip


ROWS = {"hh": "hh-rlhf", "ultra": "ultrafeedback_binarized"}
# with the speeds seen so far on an H200, some eight minutes for the first and six for `1b-hh`
EAGER = {
    "3b-ultra": AgainstTRL("dpo_vs_trl", "3b", "ultra", 2048, (4, 8), 3),
    "1b-ultra": AgainstTRL("dpo_vs_trl", "1b", "ultra", 2048, (4, 8, 16), 5),
    "3b-hh": AgainstTRL("dpo_vs_trl", "3b", "hh", 512, (4, 8, 16), 8),
    "1b-hh": AgainstTRL("dpo_vs_trl", "1b", "hh", 512, (8, 16, 32, 64), 10),
    "1b-hh-reward": AgainstTRL("reward_vs_trl", "1b", "hh", 512, (8, 16, 32, 64), 10),
}
COMPILED = {
    f"{part}-compiled": replace(EAGER[part], tried=tried, compiled=True)
    for part, tried in {
        "3b-ultra": (4,), "1b-ultra": (4, 8), "3b-hh": (8,), "1b-hh": (8, 32),
        "1b-hh-reward": (16, 64),
    }.items()
}  # fmt: skip
TRL = {**EAGER, **COMPILED}
PARTS = (*TRL, "cells", "grid", "authors", "tests")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--limit", type=float, default=540, help="seconds of a part")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    arguments = parser.parse_args()
    # end as on Ctrl-C, so that the running part is stopped as well
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: the parts are {', '.join(PARTS)}")
    chosen = [part for part in PARTS if part in (arguments.parts or PARTS)]
    if arguments.peer is None and "authors" in chosen:
        print("authors: skipped, it needs --peer", flush=True)
        chosen.remove("authors")
    plan = {part: commands(part, arguments) for part in chosen}
    if arguments.dry_run:
        for lines in plan.values():
            for line in lines:
                print("+", *line)
        return 0
    records = Records(arguments.out / "gpu_parts", card(arguments.device))
    return run_parts(plan, records, arguments.limit)


class Records:
    """What was finished with these sources on this card, a file for each part."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        self.made_by = {"device": device, "sources": sources()}

    def finished(self, part: str) -> bool:
        try:
            found = json.loads((self.folder / f"{part}.json").read_text())
        except (OSError, ValueError):
            return False
        return all(found.get(key) == value for key, value in self.made_by.items())

    def keep(self, part: str, lines: Sequence[Sequence[str]], seconds: float) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "part": part,
            **self.made_by,
            "git_commit": git_commit(),
            "versions": versions(),
            "commands": [" ".join(line) for line in lines],
            "seconds": round(seconds, 1),
            "ended": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        }
        write_atomically(self.folder / f"{part}.json", json.dumps(content, indent=1) + "\n")


def run_parts(plan: dict[str, list[list[str]]], records: Records, limit: float) -> int:
    """Run the parts that are not finished; 1 if one fails or takes more than `limit` seconds."""
    done = [part for part in plan if records.finished(part)]
    failed: list[str] = []
    _say(plan, done, failed)
    for part, lines in plan.items():
        if part in done:
            continue
        start, bad = time.monotonic(), False
        for line in lines:
            print("+", *line, flush=True)
            bad |= not ended_well(line, limit - (time.monotonic() - start))
        seconds = time.monotonic() - start
        print(f"= {part}: {seconds:.1f} s", flush=True)
        if not bad:
            records.keep(part, lines, seconds)
        (failed if bad else done).append(part)
        _say(plan, done, failed)
    return int(bool(failed))


def _say(plan: dict[str, list[list[str]]], done: list[str], failed: list[str]) -> None:
    left = [part for part in plan if part not in (*done, *failed)]
    for state, parts in (("done", done), ("failed", failed), ("left", left)):
        if parts:
            print(f"{state}: {', '.join(parts)}", flush=True)


def ended_well(line: Sequence[str], seconds: float) -> bool:
    """Whether a command of Python ends with 0 in time; stopped otherwise, with its processes."""
    process = subprocess.Popen([sys.executable, *line], start_new_session=True)
    try:
        return process.wait(max(0.0, seconds)) == 0
    except subprocess.TimeoutExpired:
        print("stopped: its time is over", flush=True)
        return False
    finally:
        if process.poll() is None:
            # its processes too, which hold memory of the device
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def sources() -> str:
    """A digest of the code and settings; a copy without .git has it as well."""
    rooms = [ROOT / name for name in ("sympo", "experiments", "conf", "hydra_plugins", "tests")]
    files = [
        file for room in rooms for kind in ("py", "cpp", "yaml") for file in room.rglob(f"*.{kind}")
    ]
    digest = hashlib.sha256()
    for file in sorted([*files, ROOT / "run.py"]):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def card(device: str) -> str:
    import torch

    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


def commands(part: str, arguments: argparse.Namespace) -> list[list[str]]:
    """The commands of a part, as arguments of Python."""
    data, out, device = arguments.data, arguments.out, arguments.device
    common = ["--device", device, "--out", str(out)]
    module = "experiments.benchmarks"
    if part == "tests":
        files = (
            "test_cuda.py",
            "models/images/convolutions/triton_kernels_checks.py",
            "models/texts/test_varlen_rounding.py",
        )
        return [["-m", "pytest", "-q", *(f"tests/{file}" for file in files)]]
    if part == "grid":
        return [
            [
                "run.py", "-m", "experiment=mnist_paper_grid", f"dataset.path={data}",
                f"device={device}", f"results_dir={out / 'grid'}", f"report_dir={out / 'figure'}",
                "wandb.mode=disabled",
            ]
        ]  # fmt: skip
    if part == "cells":
        return [
            ["-m", f"{module}.cells_per_second", "--mnist", str(data), *common, "--most", "1024"]
        ]
    if part == "authors":
        return [
            [
                "-m", f"{module}.mnist_vs_authors", "--mnist", str(data), *common,
                "--peer", str(arguments.peer), "--cells", "175", "--rounds", "3",
            ]
        ]  # fmt: skip
    return [TRL[part].command(arguments)]


if __name__ == "__main__":
    sys.exit(main())
