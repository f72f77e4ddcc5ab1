"""Asks pip-audit for known vulnerabilities of the pinned dependencies; needs a network.

Imports nothing else, so that it runs where only pip-audit is installed.

    pip install -e .[audit]
    python -m experiments.audit [REQUIREMENTS]      default: constraints.txt

Exit codes: 0, none is known; 1, some are, listed with the versions that fix them; 2, pip-audit did
not run, or could not look up some packages.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


class NoReport(ValueError):
    """pip-audit printed something else than a report."""


@dataclass(frozen=True)
class Audit:
    """What pip-audit found: how many packages it looked up, a line for each vulnerability, and one
    for each package that it skipped."""

    packages: int
    vulnerable: list[str]
    skipped: list[str]


def command(requirements: Path) -> list[str]:
    """pip-audit on exactly these versions, installing and resolving nothing."""
    return [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(requirements)),
        *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
    ]


def read(output: str) -> Audit:
    """Read pip-audit's JSON; raises NoReport."""
    try:
        found: list[dict[str, Any]] = json.loads(output)["dependencies"]
        looked_up = [one for one in found if "skip_reason" not in one]
        vulnerable = [
            f"{one['name']} {one['version']}: {_named(known)}, {_fixed(known['fix_versions'])}"
            for one in looked_up
            for known in one["vulns"]
        ]
        skipped = [f"{one['name']}: {one['skip_reason']}" for one in found if "skip_reason" in one]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoReport(f"pip-audit printed no report ({type(error).__name__})") from error
    return Audit(len(looked_up), vulnerable, skipped)


def _named(known: dict[str, Any]) -> str:
    aliases = ", ".join(known.get("aliases", []))
    return f"{known['id']} ({aliases})" if aliases else str(known["id"])


def _fixed(versions: list[str]) -> str:
    return f"fixed in {', '.join(versions)}" if versions else "not fixed yet"


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    done = subprocess.run(
        command(Path(given[0]) if given else CONSTRAINTS), capture_output=True, text=True
    )
    try:
        found = read(done.stdout)
    except NoReport as error:
        last = done.stderr.strip().rpartition("\n")[2]
        print(f"error: {error}: {last}", file=sys.stderr)
        return 2
    for line in found.vulnerable:
        print(line)
    for line in found.skipped:
        print(f"not looked up: {line}")
    print(f"{found.packages} packages, {len(found.vulnerable)} known vulnerabilities")
    return 1 if found.vulnerable else 2 if found.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
