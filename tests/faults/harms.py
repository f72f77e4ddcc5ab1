"""Full disks, unwritable and moved folders, two sweeps at once, and damaged files.

After each fault the same command completes the sweep. Damage must be named in the output, and the
damaged file kept.
"""

import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from tests.faults.forks import fork
from tests.faults.phases import Trigger
from tests.faults.sweeps import DIGITS, POLICIES, Sweep, cells, content, differing
from tests.faults.trials import Row, Trials

Damage = Callable[[bytes, random.Random], bytes]


def truncated(whole: bytes, draw: random.Random) -> bytes:
    return whole[: draw.randrange(len(whole))]


def garbled(whole: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(max(1, len(whole) - 64))
    return whole[:at] + draw.randbytes(min(64, len(whole) - at)) + whole[at + 64 :]


def bit_flipped(whole: bytes, draw: random.Random) -> bytes:
    harmed = bytearray(whole)
    harmed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
    return bytes(harmed)


DAMAGES: tuple[Damage, ...] = (truncated, garbled, bit_flipped)
# the phases in which the disk is full
FILLED = {
    "start": DIGITS, "checkpoint": DIGITS, "summary": DIGITS, "stages": POLICIES,
    "sampling": POLICIES, "verdicts": POLICIES,
}  # fmt: skip
# what is damaged, of a complete cell and of a stage
OF_RUNS = ("summary.json", "metrics.jsonl", "config.yaml", "suspects.csv", "samples/last.jsonl")
OF_STAGES = (
    "sft-*/model.safetensors", "pairs-*/train-chosen.npz", "pairs-*/data.json",
    "reference-logps-*/logps.npz", "reference-answers-*/answers.npz", "pairs-*/key.json",
)  # fmt: skip


class Harms(Trials):
    """Faults other than kills."""

    def damaged_run(self, name: str, damage: Damage) -> Row:
        """Damage a file of a complete cell."""
        return self._damaged(("runs", "stages"), f"runs/*/*/*/*/*/{name}", name, damage)

    def damaged_stage(self, name: str, damage: Damage) -> Row:
        """Damage a file of a shared stage that cells are about to use."""
        return self._damaged(("stages",), f"stages/{name}", f"stage {name}", damage)

    def damaged_verdicts(self, damage: Damage) -> Row:
        """Damage the file of verdicts of cells that are not judged yet. It is not set aside if
        only single rows are damaged, which are asked again, or nothing that is read."""
        row = Row(damage.__name__.replace("_", "-"), "verdicts.sqlite", hit=1)
        results = self.started(POLICIES, ("runs", "stages"), ("judges",))
        file = results / "stages" / "verdicts.sqlite"
        file.write_bytes(damage(file.read_bytes(), self.draw))
        self.finish(row, POLICIES, results)
        return row

    def damaged_judgement(self, damage: Damage) -> Row:
        """Damage a judged file."""
        return self._damaged(("runs", "stages"), "runs/*/*/*/*/*/judges/*.json", "judged", damage)

    def damaged_checkpoint(self, damage: Damage) -> Row:
        """Damage the checkpoint of a cell that was killed after it."""
        results = self.started(POLICIES, ("stages",))
        self._kill_after_checkpoint(POLICIES, results)
        row = Row(damage.__name__.replace("_", "-"), "checkpoint.pt")
        return self._harmed(row, results, "runs/**/checkpoint.pt", damage)

    def _damaged(
        self,
        before: Sequence[str],
        place: str,
        name: str,
        damage: Damage,
        later: Sequence[str] = (),
    ) -> Row:
        row = Row(damage.__name__.replace("_", "-"), name)
        return self._harmed(row, self.started(POLICIES, before, later), place, damage)

    def _harmed(self, row: Row, results: Path, place: str, damage: Damage) -> Row:
        file = sorted(results.glob(place))[0]
        whole = file.read_bytes()
        while (harmed := damage(whole, self.draw)) == whole:
            pass
        file.write_bytes(harmed)
        self.finish(row, POLICIES, results, harmed)
        return row

    def full_disk(self, phase: str, number: int, sweep: Sweep) -> Row:
        """Let every write fail from one inside a phase on, as on a full disk."""
        row = Row("disk full (write fails)", phase)
        results = self.started(sweep)
        trigger = Trigger(phase, "operation", number, _full)
        child = fork(partial(sweep.run, results), self.log, trigger)
        row.hit += child.end() == 1
        self.finish(row, sweep, results)
        return row

    def small_disk(self, share: float) -> Row:
        """Run on a real disk that is too small, then give it room; as root only."""
        row = Row("disk full (small file system)", f"{share:.0%} of the room needed")
        need = sum(file.stat().st_blocks * 512 for file in self.undisturbed[DIGITS].rglob("*"))
        results = self.started(DIGITS)
        size = max(4096, int(share * need)) // 4096 * 4096
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", results)
        try:
            row.hit += fork(partial(DIGITS.run, results), self.log).end() == 1
            _mount("-o", "remount,size=64m", results)
            self.finish(row, DIGITS, results)
        finally:
            subprocess.run(["umount", results], check=True)
        return row

    def unwritable(self) -> Row:
        """Run into a folder that may not be written to, then allow it."""
        row = Row("read-only folder", "start")
        results = self.started(DIGITS)
        results.chmod(0o555)
        child = fork(partial(_as_nobody, partial(DIGITS.run, results)), self.log)
        row.hit += child.end() != 0 and "is not a writable folder" in self.log.read_text()
        results.chmod(0o755)
        self.finish(row, DIGITS, results)
        return row

    def moved(self) -> Row:
        """Kill a sweep after a checkpoint, move its folder, and go on there."""
        row = Row("moved folder", "checkpoint", hit=1)
        results = self.started(DIGITS)
        self._kill_after_checkpoint(DIGITS, results)
        moved = results.rename(results.with_name(f"{results.name}-moved"))
        self.finish(row, DIGITS, moved)
        return row

    def two_at_once(self, sweep: Sweep) -> Row:
        """Run a sweep twice at once: both end well, and each cell is finished once."""
        row = Row("two sweeps at once", "all")
        results = self.started(sweep)
        both = [fork(partial(sweep.run, results), self.log) for _ in range(2)]
        codes = [child.end() for child in both]
        finished = sum(m.phase == "summary" and m.step == 1 for child in both for m in child.marks)
        row.hit += 1
        row.wrong += codes != [0, 0] or finished != len(cells(results))
        self.finish(row, sweep, results)
        return row

    def _kill_after_checkpoint(self, sweep: Sweep, results: Path) -> None:
        trigger = Trigger("summary", "operation", 1, lambda first: os.killpg(first, 9))
        fork(partial(sweep.run, results), self.log, trigger).end()

    def finish(
        self,
        row: Row,
        sweep: Sweep,
        results: Path,
        kept: bytes | None = None,
    ) -> None:
        """Complete the sweep and compare; kept: the damaged content, which must be set aside and
        named."""
        before = self.log.stat().st_size if self.log.exists() else 0
        code = fork(partial(sweep.run, results), self.log).end()
        said = self.log.read_bytes()[before:].decode()
        found = content(results)
        aside = {name for name in found if ".damaged" in name}
        row.tries += 1
        if kept is not None:
            held = any(self._holds(results / name, kept) for name in aside)
            named = "damaged" in said or "garbled" in said
            row.hit += held and named
            row.wrong += not (held and named)
        different = differing(
            self.known[sweep], {name: value for name, value in found.items() if name not in aside}
        )
        row.lost += len(set(cells(self.undisturbed[sweep])) - set(cells(results))) + (code != 0)
        row.wrong += len(different)
        if row.lost or row.wrong:
            print(f"{row}: differs in {different}\n{said}", file=sys.stderr)

    @staticmethod
    def _holds(file: Path, kept: bytes) -> bool:
        return file.read_bytes() == kept


def _full(_: int) -> None:
    def fails(event: str, arguments: tuple[object, ...]) -> None:
        flags = arguments[2] if event == "open" else 0
        if event == "os.mkdir" or (isinstance(flags, int) and flags & os.O_CREAT):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(fails)


def _as_nobody(work: Callable[[], int]) -> int:
    if os.geteuid() == 0:
        os.setuid(65534)
    return work()


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)


def _may_mount(folder: Path) -> bool:
    with suppress(OSError, subprocess.CalledProcessError):
        _mount("-t", "tmpfs", "tmpfs", folder)
        subprocess.run(["umount", folder], check=True)
        return True
    return False


def rows(trials: Harms, short: bool) -> Iterator[Row]:
    """The rows of all faults, or of a few."""
    yield trials.moved()
    yield trials.two_at_once(DIGITS)
    yield trials.full_disk("checkpoint", 2, DIGITS)
    if short:
        return
    yield trials.unwritable()
    yield trials.two_at_once(POLICIES)
    for phase, sweep in FILLED.items():
        for number in range(1, 5):
            yield trials.full_disk(phase, number, sweep)
    for damage in DAMAGES:
        for name in OF_RUNS:
            yield trials.damaged_run(name, damage)
        for name in OF_STAGES:
            yield trials.damaged_stage(name, damage)
        yield trials.damaged_checkpoint(damage)
        yield trials.damaged_verdicts(damage)
        yield trials.damaged_judgement(damage)
    if _may_mount(trials.folder):
        for share in (0.05, 0.2, 0.4, 0.6, 0.8, 0.9):
            yield trials.small_disk(share)
