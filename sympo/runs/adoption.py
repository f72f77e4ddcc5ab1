"""Adopts results of an earlier version, whose hashes covered Python paths.

Format 1 of an identity held `_target_` paths and every setting. It is translated by the rule that
makes today's identities. A folder whose translation matches the requested cell is renamed and keeps
its content. Nothing else reads format 1.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from sympo.classes import recorded_class
from sympo.disk import config_is_garbled, sealed, with_digest, write_atomically
from sympo.identity import (
    NAME,
    TARGET,
    Identity,
    identity_of,
    is_part,
    joined,
    part_identity,
)
from sympo.runs.folder import RunFolder

# what a key.json holds beside the settings
BESIDE = ("stage", "identity", "at_default", "files", "adopted_from")
OPTIONS = ("job", "dataset", "loss", "noise_model", "model")


def translated(settings: Mapping[str, Any], options: Mapping[str, str] | None = None) -> Identity:
    """The identity of (possibly nested) settings of format 1; raises ImportError if a class no
    longer exists."""
    options = options or {}
    return joined(
        **{
            key: identity_of({key: value}, options)[key]
            if is_part(value)
            else translated(value, options)
            if isinstance(value, Mapping)
            else value
            for key, value in settings.items()
        }
    )


@dataclass(frozen=True)
class Old:
    """A folder of format 1.

    identity: translated; None if translation failed, for `reason`. sampler: of a run. files: size
        and digest of each file of a stage; empty if the stage is older than digests.
    """

    folder: Path
    identity: Identity | None
    sampler: Identity | None = None
    reason: str = ""
    files: Mapping[str, Any] = field(default_factory=dict)


def adopt_run(folder: RunFolder, config_yaml: Callable[[], str]) -> str:
    """Adopt the folder that an earlier version made for this cell; returns a line to show, empty if
    nothing was found.

    config_yaml: returns the cell's config in today's format.
    """
    parent, start = folder.path.parent, f"seed={folder.name.seed}-"
    if folder.path.is_dir() or not any(name.startswith(start) for name in _names(parent)):
        return ""
    with FileLock(parent / ".adoption.lock"):  # others would start a folder meanwhile
        return "" if folder.path.is_dir() else _adopt(folder, config_yaml)


def _adopt(folder: RunFolder, config_yaml: Callable[[], str]) -> str:
    left = []
    for old in _old_runs(folder.path.parent, f"seed={folder.name.seed}-"):
        if old.identity is None:
            left.append(f"{old.folder.name} ({old.reason})")
        elif old.identity.digest(4) == folder.hash:
            if folder.sampler and old.sampler is None:
                left.append(f"{old.folder.name} (it does not record how its responses were drawn)")
                continue
            with suppress(FileNotFoundError):  # another process was faster
                _rename(old, folder, config_yaml())
            return f"uses {old.folder.name}, made by an earlier version"
    return f"cannot use runs of an earlier version: {', '.join(left)}" if left else ""


def _rename(old: Old, folder: RunFolder, config_yaml: str) -> None:
    file = old.folder / "summary.json"
    made = file.stat().st_mtime_ns
    summary = json.loads(file.read_bytes())
    mine = RunFolder(folder.path.parents[4], folder.name, folder.identity, old.sampler)
    summary |= mine.settings() | {"hash": folder.hash, "adopted_from": old.folder.name[-8:]}
    write_atomically(file, sealed(summary, indent=1))
    os.utime(file, ns=(made, made))  # keep its age
    write_atomically(old.folder / "config.yaml", with_digest(config_yaml))
    old.folder.rename(folder.path)


def _old_runs(parent: Path, start: str) -> Iterator[Old]:
    for name in _names(parent):
        if name.startswith(start):
            old = _old_run(parent / name)
            if old is not None:
                yield old


@cache
def _names(parent: Path) -> list[str]:
    # listed once: there may be thousands of seeds
    return sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []


@cache
def _old_run(folder: Path) -> Old | None:
    """A run folder of format 1; None if it has today's format or no summary."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
        if "identity" in summary:
            return _half_adopted(folder, summary)
        options = {key: str(summary[key]) for key in OPTIONS}
        found = translated(summary["config"], options)
        sampler = _sampler_of(folder)
        if _draws_pairs(summary) and sampler.settings[NAME] != "transformers":
            reason = f"its pairs were drawn by sampler={sampler.settings[NAME]}"
            return Old(folder, None, reason=reason)
        return Old(folder, found, sampler if summary["job"] == "policy" else None)
    except FileNotFoundError:  # unfinished: it starts over
        return None
    except ImportError as error:
        return Old(folder, None, reason=" ".join(str(error).split()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Old(folder, None, reason="damaged")


def _half_adopted(folder: Path, summary: Mapping[str, Any]) -> Old | None:
    """A folder that a killed process has rewritten and not renamed."""
    if summary.get("adopted_from") != folder.name[-8:]:
        return None
    found = Identity(summary["config"], frozenset(summary["at_default"]))
    sampler = found["sampler"] if "sampler" in found.settings else None
    return Old(folder, found.without("sampler"), sampler)


def _draws_pairs(summary: Mapping[str, Any]) -> bool:
    """Whether the pairs of a run are responses of its policy."""
    from_policy: bool = getattr(
        recorded_class(summary["config"]["dataset"][TARGET]), "from_policy", False
    )
    return from_policy


def _sampler_of(folder: Path) -> Identity:
    """How a run's responses were drawn, which format 1 records only in its config."""
    content = (folder / "config.yaml").read_bytes()
    if config_is_garbled(content):
        raise ValueError("config.yaml is garbled")
    return part_identity(yaml.safe_load(content)["sampler"])


def old_stages(root: Path, name: str, options: Mapping[str, str]) -> Iterator[Old]:
    """The stages of format 1 with a given name; options: what chose their parts."""
    for file in sorted(root.glob(f"{name}-*/key.json")):
        try:
            key = json.loads(file.read_bytes())
            settings = {k: v for k, v in key.items() if k not in BESIDE}
            files = key.get("files", {})
            if "identity" not in key:
                yield Old(file.parent, translated(settings, options), files=files)
            elif key.get("adopted_from") == file.parent.name:  # by a process that was killed
                found = Identity(settings, frozenset(key["at_default"]))
                yield Old(file.parent, found, files=files)
        except ImportError as error:
            yield Old(file.parent, None, reason=" ".join(str(error).split()))
        except (OSError, ValueError, AttributeError, TypeError):
            continue  # damaged: made again under its new name
