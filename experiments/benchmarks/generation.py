"""Tokens per second of sampling for win rates, against `model.generate` of `transformers`.

    python -m experiments.benchmarks.generation --hh FOLDER --model FOLDER [--device cuda]
    [--precision bfloat16] [--sampler vllm]

FOLDERs hold HH and a causal model in the hub's format. Prompts come from HH. Every response has
exactly --tokens tokens, because the end token is disabled, so that all do the same work. Ours is
the sampler that jobs use. The peers generate prompt by prompt, and in batches of the same size in
the order of the data; in half precision their weights are in half precision, too. Ours and the
peers alternate, and ratios are paired. Needs no account and no network.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.benchmarks.results import processor, write
from sympo.data.hh import HH
from sympo.models.texts import Hub
from sympo.models.texts.policies import Policy
from sympo.models.texts.scorers import AUTOCAST
from sympo.sampling import VLLM, Sampling, Transformers
from sympo.sampling.base import BaseSampler
from sympo.sampling.padding import padded
from sympo.types import Vocabulary

SAMPLERS: dict[str, BaseSampler] = {"transformers": Transformers(), "vllm": VLLM()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hh", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=AUTOCAST)
    parser.add_argument("--sampler", default="transformers", choices=SAMPLERS)
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
    device, precision = arguments.device, arguments.precision
    policy = Policy(model.build(vocabulary, 0).to(device), precision, longest)
    policy.model.requires_grad_(False)  # as the reference
    peer = model.build(vocabulary, 0).to(device, getattr(torch, precision)).eval()
    sampling = Sampling(len(prompts), 0.7, 0.95, arguments.tokens, arguments.batch)
    sampler = SAMPLERS[arguments.sampler]

    def ours() -> None:
        answers = sampler.sample(policy, prompts, vocabulary, sampling, seed=0)
        assert {len(ids) for ids in answers.ids} == {arguments.tokens}

    def generate(size: int) -> None:
        for start in range(0, len(prompts), size):
            ids, mask = (
                torch.from_numpy(part).to(device)
                for part in padded(prompts[start : start + size], vocabulary.pad)
            )
            found: Any = peer.generate(
                input_ids=ids, attention_mask=mask, do_sample=True, temperature=0.7, top_p=0.95,
                top_k=0, max_new_tokens=arguments.tokens, eos_token_id=vocabulary.eos,
                pad_token_id=vocabulary.pad,
            )  # fmt: skip
            assert found.shape[1] == ids.shape[1] + arguments.tokens

    peers: dict[str, Callable[[], None]] = {
        "model.generate prompt by prompt": partial(generate, 1),
        f"model.generate, {arguments.batch} at a time": partial(generate, arguments.batch),
    }
    took: dict[str, list[float]] = {name: [] for name in ("ours", *peers)}
    for number in range(arguments.rounds + 1):
        for name, work in {"ours": ours, **peers}.items():
            seconds = timed(work, device)
            if number:  # the first round compiles, loads kernels and is not counted
                took[name].append(seconds)
        print({name: [round(one, 2) for one in found] for name, found in took.items()}, flush=True)
    tokens = len(prompts) * arguments.tokens
    about = {
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "prompt_tokens_median": float(np.median([len(prompt) for prompt in prompts])),
        "precision": precision,
        "compiled": bool(sampler.note(device, len(prompts), sampling)),
    }
    what = f"answers of {arguments.tokens} tokens, {arguments.batch} at a time: tokens_per_s"
    rows = [row(what, tokens, took["ours"], took[name], name) | about for name in peers]
    cuda = device != "cpu"
    name = torch.cuda.get_device_name(device) if cuda else processor()
    kind = "" if arguments.sampler == "transformers" else f"_{arguments.sampler}"
    path = arguments.out / f"generation{kind}{'_gpu' if cuda else ''}.json"
    print(write(path, rows, device=name, threads=arguments.threads))


def row(
    name: str, tokens: int, ours: Sequence[float], peer: Sequence[float], peer_is: str
) -> dict[str, Any]:
    """A row of results from the seconds of each round."""
    ratios = [b / a for a, b in zip(ours, peer, strict=True)]
    return {
        "name": name,
        "ours": tokens / statistics.median(ours),
        "peer": tokens / statistics.median(peer),
        "peer_is": peer_is,
        "unit": "tokens/s",
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
    }


def timed(work: Callable[[], None], device: str) -> float:
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
