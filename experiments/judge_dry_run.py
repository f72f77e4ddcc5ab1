"""python -m experiments.judge_dry_run --hh FOLDER --model FOLDER

A real judge run from samples to figures, on one machine: policies on HH
(`experiment=hh_dry_run`), judged by a language model behind `transformers serve`. The judge is a
Llama of 84,000 weights, trained here. It sees only the ends of sentences and prefers the response
with more of them: its verdicts depend on the responses, but say nothing about quality.
Needs `pip install 'transformers[serving]'`.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sympo import seeding

# relative: the server names a model by its folder, and results carry the judge's name
JUDGE = Path("results/stages/sentence-judge")
ENDS = [".", "!", "?"]
STARTS = ["answer A begins", "answer B begins"]
VERDICTS = ["[[A]]", "[[B]]", "[[C]]"]
WORDS = ["<unk>", "<eos>", "<user>", "<assistant>", *ENDS, *STARTS, *VERDICTS]
ID = {word: number for number, word in enumerate(WORDS)}
MOST_ENDS, POSITIONS = 24, 512
STEPS, BATCH = 1500, 64


def example(draw: np.random.Generator) -> list[int]:
    """A prompt as the judge sees it, and the verdict: the response with more sentence ends wins."""
    before, a, b, after = draw.integers(0, MOST_ENDS, 4)
    verdict = "[[A]]" if a > b else "[[B]]" if b > a else "[[C]]"
    return [
        *(ID["<user>"], *_ends(draw, before)),
        *(ID[STARTS[0]], *_ends(draw, a)),
        *(ID[STARTS[1]], *_ends(draw, b), *_ends(draw, after)),
        *(ID["<assistant>"], ID[verdict], ID["<eos>"]),
    ]


def _ends(draw: np.random.Generator, count: int) -> list[int]:
    return [ID[ENDS[number]] for number in draw.integers(0, len(ENDS), count)]


def make_judge(folder: Path) -> float:
    """Train the judge and save it in the hub's format; returns its share of correct verdicts."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel(ID, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"[.!?]|answer [AB] begins"), "removed", invert=True
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<eos>", pad_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>"],
        chat_template="{% for m in messages %}<user>{{ m['content'] }}{% endfor %}<assistant>",
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=POSITIONS, bos_token_id=None,
            eos_token_id=ID["<eos>"], pad_token_id=ID["<unk>"],
        )
    )  # fmt: skip
    draw = seeding.generator(0, "sentence judge")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / STEPS)
        logits, target = _verdicts(model, [example(draw) for _ in range(BATCH)])
        optimizer.zero_grad()
        cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
        optimizer.step()
    with torch.no_grad():
        logits, target = _verdicts(model, [example(draw) for _ in range(1000)])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return float((logits[:, 0].argmax(-1) == target[:, 0]).float().mean())


def _verdicts(model: Any, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and ids of the last two tokens of each row: the verdict and the end."""
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    logits = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
    return logits[:, -3:-1], ids[:, -2:]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `transformers serve` with the model of a folder on a free port; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    try:
        while True:
            if server.poll() is not None:
                raise RuntimeError("transformers serve exited; is transformers[serving] installed?")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.judge_dry_run")
    parser.add_argument("--hh", required=True, help="HH in the hub's layout")
    parser.add_argument("--model", required=True, help="a causal model in the hub's format")
    parser.add_argument("--out", default="results/hh_judge_dry_run")
    options = parser.parse_args()
    run = [sys.executable, "run.py"]
    policies = [f"dataset.path={options.hh}", f"model.name_or_path={options.model}"]
    subprocess.run([*run, "-m", "experiment=hh_dry_run", *policies], check=True)
    if not (JUDGE / "config.json").is_file():
        print(f"the judge is correct on {make_judge(JUDGE):.1%} of its own examples", flush=True)
    with served(JUDGE) as address:
        judge = ["judge=openai", f"judge.base_url={address}", f"judge.model={JUDGE}"]
        free = [f"judge.price_per_million_{kind}_tokens=0" for kind in ("prompt", "completion")]
        where = ["runs=results/runs/policy/hh", f"report_dir={options.out}"]
        return subprocess.run([*run, "job=judge", *judge, *free, *where]).returncode


if __name__ == "__main__":
    sys.exit(main())
