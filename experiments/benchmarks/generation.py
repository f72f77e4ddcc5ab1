"""Tokens per second of sampling for win rates, against `model.generate` prompt by prompt.

    python -m experiments.benchmarks.generation --hh FOLDER --model FOLDER [--device cuda]

FOLDERs hold HH and a causal model in the hub's format. Prompts come from HH. Every response has
exactly --tokens tokens, because the end token is disabled, so that both do the same work. Ours is
the sampler that jobs use: batches of similar length with a KV cache. The two alternate, and ratios
are paired. Needs no account and no network.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.results import processor, write
from sympo.data.hh import HH
from sympo.models.texts import Hub
from sympo.models.texts.policies import Policy
from sympo.sampling import Sampling, Transformers
from sympo.types import Vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hh", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model = Hub(name_or_path=str(arguments.model))
    tokenizer = model.tokenizer()
    _, positions = model.sizes()
    longest = min(256, (positions or 4096) - arguments.tokens - 1)
    data = HH(
        path=str(arguments.hh), train_pairs=1, validation_pairs=1, test_pairs=arguments.prompts,
        max_length=longest + arguments.tokens, max_prompt_length=longest,
    ).preferences(0, tokenizer, None)  # fmt: skip
    prompts = list(data.test.prompts)
    # responses end at an id that no model generates
    assert tokenizer is not None
    vocabulary = Vocabulary(size=len(tokenizer), bos=None, eos=10**9, pad=0)
    policy = Policy(model.build(vocabulary, 0).to(arguments.device), longest=longest)
    sampling = Sampling(len(prompts), 0.7, 0.95, arguments.tokens, arguments.batch)

    def ours() -> None:
        answers = Transformers().sample(policy, prompts, vocabulary, sampling, seed=0)
        assert {len(ids) for ids in answers.ids} == {arguments.tokens}

    def one_by_one() -> None:
        for prompt in prompts:
            ids = torch.as_tensor(prompt, dtype=torch.int64, device=arguments.device)[None]
            found = policy.generate(
                ids, torch.ones_like(ids), do_sample=True, temperature=0.7, top_p=0.95, top_k=0,
                max_new_tokens=arguments.tokens, eos_token_id=vocabulary.eos, pad_token_id=0,
            )  # fmt: skip
            assert found.shape[1] == len(prompt) + arguments.tokens

    took: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(arguments.rounds):
        took["ours"].append(timed(ours, arguments.device))
        took["peer"].append(timed(one_by_one, arguments.device))
        print({name: round(seconds[-1], 2) for name, seconds in took.items()}, flush=True)
    tokens = len(prompts) * arguments.tokens
    ratios = [b / a for a, b in zip(took["ours"], took["peer"], strict=True)]
    lengths = np.array([len(prompt) for prompt in prompts])
    row: dict[str, Any] = {
        "name": f"answers of {arguments.tokens} tokens, {arguments.batch} at a time: tokens_per_s",
        "ours": tokens / statistics.median(took["ours"]),
        "peer": tokens / statistics.median(took["peer"]),
        "peer_is": "model.generate prompt by prompt",
        "unit": "tokens/s",
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "prompt_tokens_median": float(np.median(lengths)),
    }
    cuda = arguments.device != "cpu"
    device = torch.cuda.get_device_name(arguments.device) if cuda else processor()
    name = "generation_gpu" if cuda else "generation"
    print(write(arguments.out / f"{name}.json", [row], device=device, threads=arguments.threads))


def timed(work: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
