"""What one of several processes does in `test_processes`; started by torchrun."""

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from sympo.losses import DrDPO, Logistic
from tests.training.made_pairs import make_rows, trainer, weights


def main(out: Path) -> None:
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    found = {}
    for name, loss, precision in (
        ("logistic", Logistic(), "float32"),
        ("dr_dpo", DrDPO(temperature=0.05), "float32"),
        ("bfloat16", Logistic(), "bfloat16"),
    ):
        own = trainer(make_rows(), loss, tokens=40, precision=precision)
        # thirteen pairs and one: shares of unequal size, and an empty one
        losses = [own.step(np.arange(size)) for size in (13, 24, 1)]
        found[name] = (torch.tensor(losses), weights(own))
    torch.save(found, out / f"{dist.get_rank()}.pt")
    dist.barrier()
    # gloo's own end, with threads still running, aborts now and then
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
