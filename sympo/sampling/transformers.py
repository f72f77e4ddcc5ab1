"""Sampling by `transformers`' own generation."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from sympo.distributed import processes
from sympo.models.texts.policies import Policy
from sympo.sampling.base import BaseSampler
from sympo.sampling.divided import draw_divided
from sympo.sampling.padding import by_length, padded
from sympo.sampling.settings import Sampling
from sympo.types import BadArgument, BadInput, Vocabulary

# decoding steps from which compiling is expected to pay: it takes a minute or two, and an eager
# step waits some 20 ms for its launches (not measured)
FEWEST_STEPS = 4096


@dataclass(frozen=True)
class Transformers(BaseSampler):
    """Generates with the policy itself, in batches of similar length; draws depend on the seed and
    on the batches.

    compile: whether decoding is compiled, with a cache of fixed size; only on CUDA. `auto`: if
        there are many tokens to decode and the model attends to all of them. Several processes
        that draw together do not compile.
    """

    identity: ClassVar[str] = "transformers"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"compile"})

    compile: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.compile not in (True, False, "auto"):
            raise BadArgument("compile", self.compile, "is not known: use true, false or auto")

    @property
    def stacks(self) -> bool:
        return type(self) is Transformers  # a subclass may draw otherwise

    @property
    def shares(self) -> bool:
        return True

    def check(self, device: str) -> None:
        if self.compile is True and torch.device(device).type != "cuda":
            raise BadInput(f"sampler.compile=true needs device=cuda, not {device}: use auto")

    def note(self, device: str, prompts: int, sampling: Sampling) -> str:
        if not self._compiles(torch.device(device), prompts, sampling):
            return ""
        return "responses: decoding is compiled, if the model attends to all tokens"

    def _compiles(self, device: torch.device, prompts: int, sampling: Sampling) -> bool:
        if self.compile == "auto":
            steps = -(-prompts // sampling.batch_size) * sampling.max_new_tokens
            return device.type == "cuda" and steps >= FEWEST_STEPS
        return self.compile

    def _generate(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
    ) -> list[np.ndarray]:
        if processes.several():
            return draw_divided(policy, prompts, vocabulary, sampling, seed)
        if self._compiles(policy.device, len(prompts), sampling):
            try:
                return _drawn(policy, prompts, vocabulary, sampling, seed, compiled=True)
            except Exception as error:  # whatever a compiler raises about a model
                if self.compile is True:
                    raise
                policy.compiles = False
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                warnings.warn(f"decoding is not compiled, which failed: {reason}", stacklevel=2)
        return _drawn(policy, prompts, vocabulary, sampling, seed, compiled=False)


def _drawn(
    policy: Policy,
    prompts: Sequence[np.ndarray],
    vocabulary: Vocabulary,
    sampling: Sampling,
    seed: int,
    compiled: bool,
) -> list[np.ndarray]:
    device, size = policy.device, min(sampling.batch_size, len(prompts))
    found: list[np.ndarray] = [np.empty(0, np.int64)] * len(prompts)
    longest = max(map(len, prompts)) + sampling.max_new_tokens
    fixed = policy.fixed_cache(longest) if compiled else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for batch in by_length(prompts, size):
            # a compiled step has one shape, so the last batch is filled up
            rows = batch if fixed is None else np.resize(batch, size)
            ids, mask = padded([prompts[i] for i in rows], vocabulary.pad)
            out = policy.generate(
                torch.from_numpy(ids).to(device),
                torch.from_numpy(mask).to(device),
                cache=fixed,
                do_sample=True,
                temperature=float(sampling.temperature),
                top_p=float(sampling.top_p),
                top_k=0,
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=vocabulary.eos,
                pad_token_id=vocabulary.pad,
            )
            answers = out[: len(batch), ids.shape[1] :].cpu().numpy()
            for i, answer in zip(batch, answers, strict=True):
                found[i] = answer
    return found
