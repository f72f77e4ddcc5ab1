"""Answers drawn by vLLM, an optional extra, from a copy of a policy's weights."""

import copy
import gc
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from sympo import ranges, seeding
from sympo.models.causal import Policy
from sympo.models.sampling import Sampler, Sampling
from sympo.ranges import Range
from sympo.types import BadInput, Vocabulary

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class VLLM(Sampler):
    """An engine of vLLM that lives as long as one call; the draw of an answer depends on the seed
    and its prompt's place, and, as far as rounding goes, on what is answered beside it.

    gpu_memory_utilization: share of the GPU's memory for its weights and cache; it must be free
        beside the policy that trains there. dtype: of its weights, null for the policy's precision.
    enforce_eager: whether it starts sooner and generates slower, without compiling.
    """

    gpu_memory_utilization: Annotated[float, Range(above=0, most=1)]
    dtype: str | None
    enforce_eager: bool

    def __post_init__(self) -> None:
        ranges.check(self)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise BadInput(
                f"sampler.dtype={self.dtype} is not known: use one of {', '.join(DTYPES)}, or null"
            )

    def check(self, device: str) -> None:
        if torch.device(device).index:
            raise BadInput(
                f"device={device} is not allowed with sampler=vllm, which takes the first visible "
                f"GPU: use CUDA_VISIBLE_DEVICES={torch.device(device).index} and device=cuda"
            )
        if importlib.util.find_spec("vllm") is None:
            raise BadInput(
                "sampler=vllm needs vLLM, which is not installed: pip install -e '.[vllm]'"
            )

    def _generate(
        self,
        policy: Policy,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
    ) -> list[np.ndarray]:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import SamplingParams, TokensPrompt

        asked = [TokensPrompt(prompt_token_ids=prompt.tolist()) for prompt in prompts]
        settings = [
            SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_new_tokens,
                seed=seeding.derive(seed, str(place)),
                # no end but the vocabulary's, whatever the model's own settings say
                stop_token_ids=[vocabulary.eos],
                ignore_eos=True,
                detokenize=False,
            )
            for place in range(len(prompts))
        ]
        longest = max(len(prompt) for prompt in prompts) + sampling.max_new_tokens
        engine = self._engine(policy, longest)
        try:
            found = engine.generate(asked, settings, use_tqdm=False)
        finally:
            del engine
            gc.collect()  # it refers to itself; its process ends, and gives memory back, with it
        return [np.array(answer.outputs[0].token_ids, np.int64) for answer in found]

    def _engine(self, policy: Policy, longest: int) -> Any:
        """The policy in an engine, in a process of its own, for `longest` tokens at most."""
        from vllm import LLM

        with tempfile.TemporaryDirectory() as folder:
            _save(policy, folder)
            if policy.device.type == "cuda":
                torch.cuda.empty_cache()  # what PyTorch keeps in store is not free to others
            precision = "float32" if policy.autocast is None else "bfloat16"
            return LLM(
                model=folder,
                skip_tokenizer_init=True,
                dtype=self.dtype or precision,
                max_model_len=longest,
                gpu_memory_utilization=self.gpu_memory_utilization,
                enforce_eager=self.enforce_eager,
                generation_config="vllm",  # its own defaults, not what comes with the model
                use_tqdm_on_load=False,
            )


def _save(policy: Policy, folder: str) -> None:
    model = policy.model
    if hasattr(model, "peft_config"):
        # of a copy, because merging into the weights that train and back out rounds them
        model = copy.deepcopy(model).merge_and_unload()
    model.save_pretrained(folder)
