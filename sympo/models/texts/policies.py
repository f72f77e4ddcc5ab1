"""Causal language models as policies: log-probabilities of answers, in one pass per row."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.scorers import PretrainedScorer
from sympo.models.texts.token_logps import token_logps

if TYPE_CHECKING:
    from sympo.models.texts.generation_caches import FixedCache

# of one token's log-probability, in float32
TOLERANCE = 1e-4


class Policy(PretrainedScorer):
    """A causal language model of `transformers`; it scores an answer by its log-probability.

    compiles: whether decoding has not failed to compile.
    """

    compiles: bool = True

    def logps(self, rows: PackedRows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Summed log-probabilities of the answers of rows, and their numbers of tokens.

        Both (rows, sides), float32.
        """
        lengths = torch.as_tensor(rows.lengths[index], dtype=torch.float32)
        return self.scores(rows, index), lengths.to(self.device)

    def _shared(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        packed = rows.pack(index, self.device)
        head = self._base.get_output_embeddings()
        scored = packed.scored
        hidden = self._hidden(packed).index_select(0, scored.predictor)
        logps = token_logps(
            hidden, head.weight, head.bias, scored.target, self._original(head.weight)
        )
        return scored.sums(logps).view(len(index), rows.sides)

    def _separate(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        padded = rows.pad(index, self.device)
        logits = self.model(
            input_ids=padded.input_ids, attention_mask=padded.mask, use_cache=False
        ).logits
        scored = padded.scored
        logps = torch.log_softmax(logits.flatten(0, 1)[scored.predictor].float(), -1)
        own = logps.gather(1, scored.target[:, None])[:, 0]
        return scored.sums(own).view(len(index), rows.sides)

    def _linear_layers(self) -> Iterator[nn.Module]:
        yield from super()._linear_layers()
        head = self._base.get_output_embeddings()
        if type(head) is nn.Linear:
            yield head

    def _can_share(self) -> bool:
        return type(self._base.get_output_embeddings()) is nn.Linear

    def _differ(self, shared: Tensor, separate: Tensor, rows: PackedRows) -> bool:
        lengths = torch.as_tensor(rows.lengths, device=shared.device)
        return not bool(((shared - separate).abs() / lengths).max() < TOLERANCE)

    def fixed_cache(self, longest: int) -> "FixedCache | None":
        """A cache of at most so many tokens, with which decoding compiles on CUDA; None for models
        that attend in a sliding window or in their own way, or have failed to compile."""
        from sympo.models.texts.generation_caches import FixedCache

        if not (self.compiles and self.exact and self.default_attention == "sdpa"):
            return None
        cache = FixedCache(self._base.config, self.autocast or torch.float32, longest)
        return None if any(cache.is_sliding) else cache

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        mask: Tensor,
        cache: "FixedCache | None" = None,
        choose: Callable[[Tensor, Tensor], Tensor] | None = None,
        ends: Callable[..., Tensor] | None = None,
        **settings: Any,
    ) -> Tensor:
        """`transformers`' generation with exactly these settings: a penalty in the model's own
        `generation_config`, for example, would change the distribution that is sampled.

        input_ids, mask: (n, length), padded on the left. cache: emptied first; None for the
        model's usual one. choose, ends: a logits processor and a stopping criterion of
        `transformers`. Returns (n, length + new).
        """
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        self.model.eval()
        own, attention = self._base.generation_config, self._base.config._attn_implementation
        self._base.generation_config = GenerationConfig(**settings)  # type: ignore[no-untyped-call]
        more: dict[str, Any] = {
            "logits_processor": None if choose is None else LogitsProcessorList([choose]),
            "stopping_criteria": None if ends is None else StoppingCriteriaList([ends]),
        }
        if (used := self._cache(cache)) is not None:
            more["past_key_values"] = used
        try:
            if cache is not None:  # our attention is not made to be compiled
                self.use_default_attention()
            with self._computing(), self._eager_layers():
                made: Tensor = self.model.generate(input_ids=input_ids, attention_mask=mask, **more)
                return made
        finally:
            self._base.generation_config = own
            if cache is not None:
                self._base.set_attn_implementation(attention)

    def _cache(self, fixed: "FixedCache | None") -> Any:
        """The cache to generate with; None for `transformers`' default."""
        from sympo.models.texts.generation_caches import GrowingCache

        if fixed is not None:
            fixed.reset()  # type: ignore[no-untyped-call]
            return fixed
        if self.autocast is None or not self.exact:
            return None
        return GrowingCache(self._base.config, self.autocast)
