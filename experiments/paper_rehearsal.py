"""python -m experiments.paper_rehearsal --data FOLDER --tokenizer FOLDER [--size 3b]

The paper's language-model experiment (`experiment=paper_hh`, or `paper_ultrafeedback`) at its own
shape, but with random weights and 20 steps: supervised fine-tuning, reference, preference training,
sampling. The run is killed once in preference training, after a checkpoint, and resumed. A JSON
file records the seconds of every part, the peak memory, and the hours that the full experiment
would take at these rates. The default size is a hundredth of the 3B shape, for a CPU. Random
weights learn nothing: only costs are recorded.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sympo.disk import write_atomically

STEPS = 20
# of the full experiments: pairs in the hub's training files, prompts that are sampled for, cells
PAIRS = {"paper_hh": 160_800, "paper_ultrafeedback": 61_135}
PROMPTS, CELLS = 1_024, 24
MADE = re.compile(r"  ([a-z-]+): made in ([\d.]+) s")


@dataclass(frozen=True)
class Size:
    """A Llama's shape, and how much of the data a rehearsal sees.

    batch: pairs per step; prompts: that are sampled for; new_tokens: at most, per response.
    checkpoint_minutes: between checkpoints of preference training.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    batch: int
    test_pairs: int
    prompts: int
    new_tokens: int
    checkpoint_minutes: float


SIZES = {
    "3b": Size(3072, 8192, 28, 24, 8, 64, 256, 64, 512, 1),
    "hundredth": Size(320, 864, 12, 8, 4, 8, 64, 16, 128, 0.1),
}


def make_model(size: Size, tokenizer: str, folder: Path) -> int:
    """Save a Llama with random weights and a tokenizer in the hub's format; returns its weights."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    words = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=size.hidden, intermediate_size=size.intermediate,
            num_hidden_layers=size.layers, num_attention_heads=size.heads,
            num_key_value_heads=size.key_value_heads, max_position_embeddings=1024,
            tie_word_embeddings=True, bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def command(
    experiment: str, size: Size, data: str, model: Path, out: Path, device: str
) -> list[str]:
    """The run of one cell of an experiment on a few rows."""
    return [
        sys.executable, "run.py", "-m", f"experiment={experiment}", "loss=ramp", "noise=0.3",
        f"dataset.path={data}", f"model.name_or_path={model}", f"device={device}",
        f"results_dir={out}", f"dataset.train_pairs={STEPS * size.batch}",
        f"dataset.validation_pairs={size.test_pairs}", f"dataset.test_pairs={size.test_pairs}",
        f"job.batch_size={size.batch}", f"job.sft.batch_size={size.batch}", "job.warmup_steps=4",
        "job.sft.warmup_steps=4", "job.evaluate_every=1",
        f"job.evaluated_train_pairs={size.test_pairs}", f"job.sampling.prompts={size.prompts}",
        f"job.sampling.max_new_tokens={size.new_tokens}",
        f"job.checkpoint_minutes={size.checkpoint_minutes}", f"report_dir={out}/report",
    ]  # fmt: skip


def killed(line: Sequence[str], out: Path, log: Path) -> float:
    """Run until preference training has left a checkpoint, then kill; returns the seconds."""
    started = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            line, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        while not list(out.glob("runs/**/checkpoint.pt")):
            if process.poll() is not None:
                raise SystemExit(f"the run ended before it was killed: see {log}")
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()
    return time.monotonic() - started


def hours(seconds: Mapping[str, float], size: Size, all_pairs: int) -> float:
    """Hours of the full experiment on one such device, from the seconds of a rehearsal's parts.

    seconds: of `sft`, `reference-logps`, `reference-answers` (stages, made once) and `cell`.
    all_pairs: of the full experiment.
    A cell's seconds are all scaled by the number of pairs, an upper bound: imports, evaluations and
    sampling do not grow with it.
    """
    pairs = all_pairs / (STEPS * size.batch)
    samples = PROMPTS / size.prompts
    once = (seconds["sft"] + seconds["reference-logps"]) * pairs
    return (once + seconds["reference-answers"] * samples + CELLS * seconds["cell"] * pairs) / 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--experiment", choices=PAIRS, default="paper_hh")
    parser.add_argument(
        "--data", required=True, help="a folder in the layout of the hub's data set"
    )
    parser.add_argument("--tokenizer", required=True, help="a folder with GPT-2's tokenizer")
    parser.add_argument("--size", choices=SIZES, default="hundredth")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=Path("results/stages/rehearsal"))
    parser.add_argument("--out", type=Path, default=Path("results/paper_rehearsal"))
    options = parser.parse_args()
    size, name = SIZES[options.size], f"{options.experiment}_{options.size}"
    work = options.work / name
    work.mkdir(parents=True, exist_ok=True)
    weights = make_model(size, options.tokenizer, work / "model")
    model = work / "model"
    line = command(options.experiment, size, options.data, model, work, options.device)
    first, second = work / "killed.log", work / "resumed.log"
    before = killed(line, work, first)
    started = time.monotonic()
    with second.open("w") as file:
        if subprocess.run(line, stdout=file, stderr=subprocess.STDOUT).returncode:
            raise SystemExit(f"the resumed run failed: see {second}")
    after = time.monotonic() - started
    made = {stage: float(took) for stage, took in MADE.findall(first.read_text())}
    [summary] = [json.loads(path.read_text()) for path in work.glob("runs/**/summary.json")]
    seconds = {**made, "cell": before + after - sum(made.values())}
    found = {
        "command": "python -m experiments.paper_rehearsal --data FOLDER --tokenizer FOLDER "
        f"--size {options.size} --experiment {options.experiment}",
        "git_commit": summary["git_commit"],
        "device": summary["device"],
        "seed": summary["seed"],
        "weights": weights,
        "shape": asdict(size),
        "steps": STEPS,
        "killed_after_seconds": round(before, 1),
        "resumed_seconds": round(after, 1),
        "seconds": {part: round(took, 1) for part, took in seconds.items()},
        "peak_memory_bytes": summary["peak_memory_bytes"],
        "hours_of_the_full_experiment_at_most": round(
            hours(seconds, size, PAIRS[options.experiment]), 1
        ),
        "versions": summary["versions"],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1) + "\n"
    write_atomically(options.out / f"{name}.json", text)
    print(text)


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


if __name__ == "__main__":
    main()
