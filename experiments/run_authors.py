"""Run the authors' MNIST script, and record what it logs.

    python -m experiments.run_authors PEER MNIST RECORD KEY=VALUE ...

PEER is a checkout of github.com/nissymori/SymPO, MNIST holds MNIST/raw, RECORD is the JSON file to
write, and KEY=VALUE the script's own settings. Nothing in the script is changed but its device,
`cuda`, if there is none. Stand-ins are given for `wandb`, whose logs are recorded, and for `jax`,
which it imports and does not use.
"""

import gzip
import json
import os
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from sympo.disk import write_atomically
from sympo.types import BadInput


class Record(types.ModuleType):
    """A stand-in for `wandb` that keeps the numbers that it is given."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.logged: list[dict[str, float]] = []

    def init(self, **_: object) -> None:
        pass

    def log(self, values: dict[str, Any]) -> None:
        found = {}
        for name, value in values.items():
            if name not in ("reward", "reward_diff"):  # tables
                found[name] = float(value)
        if found:
            self.logged.append(found)

    def Table(self, **_: object) -> None:
        pass


def main(peer: Path, mnist: Path, record: Path, settings: list[str]) -> None:
    import torch

    scripts = peer.absolute() / "mnistpref"
    if not (scripts / "train.py").is_file():
        raise BadInput(f"{scripts} has no train.py: give a checkout of nissymori/SymPO")
    logs, record = Record(), record.absolute()
    jax = types.ModuleType("jax")
    jax.numpy = types.ModuleType("jax.numpy")  # type: ignore[attr-defined]
    sys.modules.update({"wandb": logs, "jax": jax, "jax.numpy": jax.numpy})
    sys.path.insert(0, str(scripts))
    sys.argv = ["train.py", *settings]
    source = (scripts / "train.py").read_text()
    if not torch.cuda.is_available():
        source = source.replace('torch.device("cuda")', 'torch.device("cpu")')
    with tempfile.TemporaryDirectory() as folder:
        unpack(mnist.absolute(), Path(folder) / "data")
        os.chdir(folder)
        exec(compile(source, str(scripts / "train.py"), "exec"), {"__name__": "__main__"})
        os.chdir("/")
    write_atomically(record, json.dumps(logs.logged, indent=1) + "\n")


def unpack(mnist: Path, root: Path) -> None:
    """MNIST in a folder as torchvision leaves it after a download, so that it downloads nothing."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = list((mnist / "MNIST" / "raw").glob("*-ubyte*"))
    if not files:
        raise BadInput(f"{mnist} has no MNIST: it must hold MNIST/raw")
    for file in files:
        content = file.read_bytes()
        plain = gzip.decompress(content) if file.suffix == ".gz" else content
        (raw / file.name.removesuffix(".gz")).write_bytes(plain)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
