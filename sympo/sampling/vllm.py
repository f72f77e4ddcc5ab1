"""Sampling by vLLM, an optional extra, from a copy of a policy's weights."""

import copy
import gc
import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from sympo import ranges, seeding
from sympo.models.texts import adapters
from sympo.models.texts.policies import Policy
from sympo.ranges import Range
from sympo.sampling.base import BaseSampler
from sympo.sampling.settings import Sampling
from sympo.types import BadArgument, BadInput, Vocabulary

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class VLLM(BaseSampler):
    """Starts a vLLM engine for each call; a draw depends on the seed and on the prompt's index and,
    through rounding, on the other prompts of the call. vLLM raises temperatures below 0.01 to 0.01.

    gpu_memory_utilization: share of the GPU's memory for the engine's weights and cache, which must
        be free beside the policy. dtype: of the engine's weights, None for the policy's precision.
    enforce_eager: skip compilation, which starts sooner and generates slower.
    BadArgument if a setting is out of range or the dtype is unknown.
    """

    identity: ClassVar[str] = "vllm"
    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {"gpu_memory_utilization", "enforce_eager"}
    )

    gpu_memory_utilization: Annotated[float, Range(above=0, most=1)] = 0.3
    dtype: str | None = None
    enforce_eager: bool = False

    def __post_init__(self) -> None:
        ranges.check(self)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise BadArgument(
                "dtype", self.dtype, f"is not known: use one of {', '.join(DTYPES)}, or null"
            )

    def check(self, device: str) -> None:
        if torch.device(device).index:
            raise BadInput(
                f"device={device} is not allowed with vLLM, which takes the first visible "
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
                # only the vocabulary's end of sequence ends a response, whatever the model's own
                # generation settings are
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
            gc.collect()  # a reference cycle; collecting it ends its process and frees the memory
        return [np.array(answer.outputs[0].token_ids, np.int64) for answer in found]

    def _engine(self, policy: Policy, longest: int) -> Any:
        """An engine with the policy's weights, in a separate process; longest: in tokens."""
        from vllm import LLM

        with tempfile.TemporaryDirectory() as folder:
            _save(policy, folder)
            if policy.device.type == "cuda":
                torch.cuda.empty_cache()  # PyTorch's cached memory is not free to vLLM
            precision = "float32" if policy.autocast is None else "bfloat16"
            return LLM(
                model=folder,
                skip_tokenizer_init=True,
                dtype=self.dtype or precision,
                max_model_len=longest,
                gpu_memory_utilization=self.gpu_memory_utilization,
                enforce_eager=self.enforce_eager,
                generation_config="vllm",  # vLLM's defaults, not the model's generation_config.json
                use_tqdm_on_load=False,
            )


def _save(policy: Policy, folder: str) -> None:
    model = policy.model
    if adapters.adapted(model):
        # a copy: merging adapters into the trained weights and back out would round them
        model = adapters.merged(copy.deepcopy(model))
    model.save_pretrained(folder)
