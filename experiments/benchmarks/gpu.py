"""All GPU measurements, in parts of less than ten minutes each.

    python -m experiments.benchmarks.gpu PART [PART ...] --data FOLDER [--peer FOLDER] [--out OUT]

The --data folder holds `MNIST/raw`, `hh-rlhf`, `ultrafeedback_binarized` and `gpt2_tokenizer`. The
--peer folder is `mnistpref` in a checkout of github.com/nissymori/SymPO. Parts: `tests` (tests that
need a GPU), `grid` (the paper's MNIST grid, from command to figure, into OUT), `images` (against
the authors' loop, and cells per second up to 1,024), `1b-hh`, `1b-ultra`, `3b-hh`, `3b-ultra`
(against TRL at 512 and 2,048 tokens). Each part prints its commands, and continues if one fails.

All parts need torch (CUDA), torchvision, scipy, scikit-learn, pandas and matplotlib. `grid` and
`images` also need hydra-core, omegaconf, antlr4-python3-runtime, filelock and pyarrow; the parts
against TRL need these and transformers, accelerate, datasets (with dill, multiprocess, xxhash) and
trl; `tests` needs pytest and hypothesis. None needs a network.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROWS = {"hh": "hh-rlhf", "ultra": "ultrafeedback_binarized"}
PARTS = ("tests", "grid", "images", *(f"{size}-{rows}" for size in ("1b", "3b") for rows in ROWS))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dry-run", action="store_true", help="print the commands only")
    arguments = parser.parse_args()
    failed = 0
    for part in arguments.parts:
        for command in commands(part, arguments):
            print("+", *command, flush=True)
            if not arguments.dry_run:
                start = time.perf_counter()
                code = subprocess.run([sys.executable, *command], check=False).returncode
                failed += code != 0
                print(
                    f"= {part}: {time.perf_counter() - start:.1f} s, exit code {code}", flush=True
                )
    return int(failed > 0)


def commands(part: str, arguments: argparse.Namespace) -> list[list[str]]:
    """The commands of a part, as arguments of Python."""
    data, out, device = arguments.data, arguments.out, arguments.device
    if part == "tests":
        files = (
            "test_cuda.py",
            "models/images/convolutions/triton_kernels_checks.py",
            "models/texts/test_varlen_rounding.py",
        )
        return [["-m", "pytest", "-q", *(f"tests/{file}" for file in files)]]
    if part == "grid":
        return [
            [
                "run.py", "-m", "experiment=mnist_paper_grid", f"dataset.path={data}",
                f"device={device}", f"results_dir={out / 'grid'}", f"report_dir={out / 'figure'}",
                "wandb.mode=disabled",
            ]
        ]  # fmt: skip
    if part == "images":
        common = ["--mnist", str(data), "--device", device, "--out", str(out)]
        module = "experiments.benchmarks"
        peer = ["--peer", str(arguments.peer), "--cells", "175", "--rounds", "3"]
        return [
            *([["-m", f"{module}.mnist_vs_authors", *common, *peer]] if arguments.peer else []),
            ["-m", f"{module}.cells_per_second", *common, "--most", "1024"],
        ]
    size, rows = part.split("-")
    return [
        [
            "-m", "experiments.benchmarks.dpo_vs_trl", "--data", str(data / ROWS[rows]),
            "--tokenizer", str(data / "gpt2_tokenizer"), "--device", device,
            "--shape", f"llama-3.2-{size}", "--length", length, "--tokens", "16384",
            "--compile", "--warmup", "4", "--rounds", "1",
            "--steps", "10", "--pairs", "400", "--out", str(out),
            "--name", f"dpo_vs_trl_{size}_{rows}_{length}",
        ]
        for length in ("512", "2048")
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
