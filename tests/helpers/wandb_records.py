"""The records of an offline W&B run."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def sent(place: Path) -> list[Any]:
    """The records of the only offline run in a folder's `wandb`, once it has ended."""
    files = list((place / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 1, files
    # W&B's service writes the file, which may take a moment on a busy machine
    deadline = time.monotonic() + 20
    while True:
        found = list(records(files[0]))
        if any(record.HasField("exit") for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def run_of(found: list[Any]) -> Any:
    """The record of the run itself."""
    (run,) = [record.run for record in found if record.HasField("run")]
    return run


def config_of(found: list[Any]) -> dict[str, Any]:
    """The config that W&B would show."""
    items = [*run_of(found).config.update]
    for record in found:
        if record.HasField("config"):
            items += record.config.update
    return {item.key: json.loads(item.value_json) for item in items}


def history_of(found: list[Any]) -> list[dict[str, Any]]:
    """What was logged, step by step; nested keys are joined by slashes."""
    return [
        {_key(item): json.loads(item.value_json) for item in record.history.item}
        for record in found
        if record.HasField("history")
    ]


def summary_of(found: list[Any]) -> dict[str, Any]:
    """The summary that W&B would show."""
    items = [item for r in found if r.HasField("summary") for item in r.summary.update]
    return {_key(item): json.loads(item.value_json) for item in items}


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)
