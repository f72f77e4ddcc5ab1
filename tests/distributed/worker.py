"""What each of two processes does in `test_processes`; started by torchrun."""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from sympo.distributed import launch, processes, watch
from sympo.identity import Identity
from sympo.losses import DrDPO, Logistic
from sympo.runs.stages import Stages
from sympo.sampling import Sampling, Transformers
from tests.distributed.shared_work import (
    PROMPTS,
    VOCABULARY,
    divided_policy,
    gradients,
    policy,
)
from tests.training.made_pairs import make_rows, trainer, weights


def main(out: Path) -> None:
    launch.join("ddp", "cpu")
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    for name, loss, precision in (
        ("logistic", Logistic(), "float32"),
        ("dr_dpo", DrDPO(temperature=0.05), "float32"),
        ("bfloat16", Logistic(), "bfloat16"),
    ):
        own = trainer(make_rows(), loss, tokens=40, precision=precision)
        # thirteen pairs and one: shares of unequal size, and an empty one
        losses = [own.step(np.arange(size)) for size in (13, 24, 1)]
        found[name] = (torch.tensor(losses), weights(own))
    for name, loss, precision in (
        ("divided logistic", Logistic(), "float32"),
        ("divided dr_dpo", DrDPO(temperature=0.05), "float32"),
        ("divided bfloat16", Logistic(), "bfloat16"),
    ):
        own = trainer(make_rows(), loss, tokens=40, policy=divided_policy(precision))
        losses = [own.step(np.arange(size)) for size in (13, 24, 1)]
        whole = [p.detach().full_tensor().flatten() for p in own.optimizer.parameters]
        found[name] = (torch.tensor(losses), torch.cat(whole))
    found["gradients"] = gradients(tokens=40)
    sampling = Sampling(prompts=len(PROMPTS), max_new_tokens=12, batch_size=4, top_p=0.9)
    drawn = Transformers().sample(policy(), PROMPTS, VOCABULARY, sampling, seed=3)
    found["responses"] = [ids.tolist() for ids in drawn.ids]
    found["scores"] = torch.from_numpy(policy().score(make_rows(), 60))
    found["first"] = processes.from_first(lambda: processes.rank() + 10)
    found["alone"] = processes.from_first(lambda: processes.share(np.arange(4)).tolist())
    found["everywhere"] = (processes.everywhere(True), processes.everywhere(processes.first()))
    for _ in range(2):
        stages = Stages(out / "stages", lambda text: None, together=True)
        folder = stages.get("shared", Identity({}), lambda folder: _make(out, folder))
    found["stage"] = (folder / "sum").read_text()
    torch.save(found, out / f"{processes.rank()}.pt")
    # a failure that all have in common does not end the processes
    watch.agree(ValueError("diverged"), lambda error: (out / "common").touch())
    processes.wait()
    with watch.saved_by(lambda: "saved"):
        if processes.first():
            processes.wait()  # for a process that fails
        watch.agree(ValueError("no memory left"), lambda error: (out / "one").touch())
    time.sleep(60)


def _make(out: Path, folder: Path) -> None:
    with (out / f"made-{processes.rank()}").open("a") as log:
        log.write("made\n")
    total = sum(processes.gathered(processes.rank() + 1))
    if processes.first():
        (folder / "sum").write_text(str(total))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
