"""The audit's command and its reading of pip-audit's JSON.

pip-audit itself is not run, because it needs a network; the report below is written by hand in the
format of its JSON output.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments import audit
from tests.conftest import ROOT

REPORT = {
    "dependencies": [
        {"name": "numpy", "version": "2.4.6", "vulns": []},
        {"name": "made-up", "version": "1.0", "vulns": [
            {"id": "PYSEC-0000-1", "fix_versions": ["1.0.1", "1.1"], "aliases": ["CVE-0000-1"],
             "description": "An example"},
            {"id": "GHSA-xxxx", "fix_versions": []},
        ]},
        {"name": "sympo", "skip_reason": "Dependency not found on PyPI"},
    ],
    "fixes": [],
}  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, output: str, errors: str = "") -> list[Any]:
    asked: list[Any] = []

    def ran(command: list[str], **_: Any) -> Any:
        asked.append(command)
        return subprocess.CompletedProcess(command, 1, output, errors)

    monkeypatch.setattr(audit.subprocess, "run", ran)
    return asked


def test_the_pinned_versions_are_audited_as_they_are() -> None:
    assert audit.command(Path("x.txt")) == [
        sys.executable, "-m", "pip_audit", "--requirement", "x.txt", "--no-deps", "--disable-pip",
        "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    # without pip, every line must be a pinned version, named once
    lines = [line for line in audit.CONSTRAINTS.read_text().splitlines() if line[:1] not in "#"]
    assert len(lines) > 100 and all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines)
    assert len({line.split("==")[0].lower() for line in lines}) == len(lines)


def test_vulnerabilities_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = run(monkeypatch, json.dumps(REPORT))
    assert audit.main([]) == 1 and asked == [audit.command(ROOT / "constraints.txt")]
    assert capsys.readouterr().out.splitlines() == [
        "made-up 1.0: PYSEC-0000-1 (CVE-0000-1), fixed in 1.0.1, 1.1",
        "made-up 1.0: GHSA-xxxx, not fixed yet",
        "not looked up: sympo: Dependency not found on PyPI",
        "2 packages, 2 known vulnerabilities",
    ]


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, json.dumps({"dependencies": REPORT["dependencies"][:1]}))
    assert audit.main([]) == 0
    run(monkeypatch, json.dumps({"dependencies": REPORT["dependencies"][2:]}))
    assert audit.main([]) == 2
    for output in ("", "[]", "{}", '{"dependencies": [1]}', '{"dependencies": [{"name": "a"}]}'):
        run(monkeypatch, output, "x\nERROR: no network")
        assert audit.main([]) == 2
        assert capsys.readouterr().err.endswith(": ERROR: no network\n")
