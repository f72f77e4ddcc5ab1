"""When, where and with what the cells of a collection were made."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

FILE = "provenance.json"  # beside the CSVs of a sweep's report
_VERSIONS = "versions."


@dataclass(frozen=True)
class Provenance:
    """How cells were made; empty parts are unknown.

    commits, devices, versions (`torch 2.15.0`): distinct ones, sorted. first, last: when the first
    and the last cell started, in seconds since the epoch. wall_seconds: of all cells together.
    """

    command: str = ""
    commits: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    first: float = 0.0
    last: float = 0.0
    wall_seconds: float = 0.0

    @classmethod
    def of(cls, summaries: pa.Table) -> "Provenance":
        """From the summaries of run folders."""
        packages = [name for name in summaries.column_names if name.startswith(_VERSIONS)]
        started = _numbers(summaries, "started")
        return cls(
            commits=_distinct(summaries, "git_commit"),
            devices=_distinct(summaries, "device"),
            versions=_sorted(
                f"{name.removeprefix(_VERSIONS)} {version}"
                for name in packages
                for version in _distinct(summaries, name)
            ),
            first=min(started, default=0.0),
            last=max(started, default=0.0),
            wall_seconds=sum(_numbers(summaries, "wall_seconds")),
        )

    @classmethod
    def read(cls, folder: Path) -> "Provenance":
        """From `provenance.json` beside the CSVs of a sweep's report; empty if there is none."""
        try:
            made = json.loads((folder / FILE).read_text())
            return cls(
                command=str(made["command"]),
                commits=_sorted(map(str, made["git_commit"])),
                devices=_sorted(map(str, made["device"])),
                versions=_sorted(
                    f"{name} {version}" for one in made["versions"] for name, version in one.items()
                ),
                wall_seconds=float(made["wall_seconds_of_all_cells"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def facts(self) -> list[tuple[str, str]]:
        """What is known, as names and values for people."""
        days = [datetime.fromtimestamp(at, UTC) for at in (self.first, self.last) if at]
        dates = [f"{day:%Y-%m-%d %H:%M}" for day in days]
        found = [
            ("Trained", f"{' to '.join(dict.fromkeys(dates))} UTC" if dates else ""),
            ("Command", self.command),
            ("Commit", ", ".join(map(_short, self.commits))),
            ("Device", ", ".join(self.devices)),
            ("Training time", duration(self.wall_seconds) if self.wall_seconds else ""),
            ("Versions", ", ".join(self.versions)),
        ]
        return [(name, value) for name, value in found if value]


def duration(seconds: float) -> str:
    """`2.1 s`, `14 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def _short(commit: str) -> str:
    digest, dash, rest = commit.partition("-")
    return digest[:12] + dash + rest


def _distinct(table: pa.Table, name: str) -> tuple[str, ...]:
    if name not in table.column_names:
        return ()
    return _sorted(str(value) for value in pc.unique(table[name]).to_pylist() if value is not None)


def _numbers(table: pa.Table, name: str) -> list[float]:
    values = table[name].to_pylist() if name in table.column_names else []
    return [float(value) for value in values if isinstance(value, int | float)]


def _sorted(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts)))
