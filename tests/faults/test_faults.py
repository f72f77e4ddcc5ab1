"""Whatever happens to a sweep, the same command completes it, and its numbers are the same."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.page import PAGE, hits, page, rows
from tests.faults.phases import NAMES
from tests.faults.trials import FILE

linux = pytest.mark.skipif(sys.platform != "linux", reason="watches processes by /proc")


def run(out: Path, *arguments: str) -> list[dict[str, str]]:
    # in a process of its own, which forks before it starts threads
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--out", out, *arguments],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return rows(out / FILE)


@linux
def test_a_fault_of_each_kind(tmp_path: Path) -> None:
    found = run(tmp_path, "--short")
    assert hits(found) == dict.fromkeys(NAMES, 1)
    assert all(row["tries"] == row["hit"] == "1" for row in found)


@linux
@pytest.mark.slow
def test_a_hundred_kills_and_every_damage(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert set(hits(found)) == set(NAMES) and min(hits(found).values()) >= 10
    assert sum(hits(found).values()) >= 100


def test_the_page_has_the_table() -> None:
    found = rows()
    assert page(PAGE.read_text(), found) == PAGE.read_text(), "run python -m tests.faults.page"
    assert set(hits(found)) == set(NAMES) and min(hits(found).values()) >= 10
    assert sum(hits(found).values()) >= 100
    assert not any(int(row["lost"]) or int(row["wrong"]) for row in found)
