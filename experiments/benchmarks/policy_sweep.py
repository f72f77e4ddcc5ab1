"""Nine policies of the embedded language, from the command to the figures.

    python -m experiments.benchmarks.policy_sweep

The median of several runs of a whole process: three losses, three noise rates, one seed, with all
shared stages made new. A target replaces a peer, since there is none. Needs no network or GPU.
"""

import argparse
from pathlib import Path

from experiments.benchmarks.results import processor, write
from experiments.benchmarks.sweep_overhead import median, row, sweep

NINE = ["-m", "job=policy", "loss=logistic,ramp,sigmoid", "noise=0,0.2,0.4"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    seconds = median(lambda: sweep(NINE), arguments.rounds)
    rows = [row("nine policies of the embedded language, command to figures", seconds, "s", 60)]
    print(write(arguments.out / "policy_sweep.json", rows, device=processor()))


if __name__ == "__main__":
    main()
