"""Causal language models as policies: log-probabilities of answers, in one pass per row."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sympo import seeding
from sympo.models import attention
from sympo.models.head import token_logps
from sympo.models.rows import Rows, Scored
from sympo.types import Encoded

# of one token's log-probability, in float32
TOLERANCE = 1e-4
AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


class Policy:
    """A causal language model of `transformers`, with or without adapters of `peft`.

    model: its weights are float32 masters; precision: float32, or bfloat16, in which the matrix
        products run; log-probabilities are float32 in both.
    longest: tokens of the longest sequence; the self-check runs at this length.

    exact says whether the model takes rows with shared prefixes: two random pairs are scored both
    ways once, and where the log-probabilities differ, or the model cannot be called that way, each
    side becomes a row of its own in a padded batch.
    """

    def __init__(self, model: nn.Module, precision: str = "float32", longest: int = 64) -> None:
        self.model: Any = model
        self.autocast = AUTOCAST[precision]
        _without_dropout(model)
        self.default_attention = self._base.config._attn_implementation
        self.exact = self._takes_shared_prefixes(longest)

    @property
    def _base(self) -> Any:
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def logps(self, rows: Rows, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Summed log-probabilities of the answers of rows, and how many tokens each has.

        Both (rows, sides), float32.
        """
        with self._precision():
            values, scored = (self._shared if self.exact else self._separate)(rows, index)
        shape = (len(index), rows.sides)
        return scored.sums(values).view(shape), scored.lengths.view(shape)

    @torch.no_grad()
    def score(self, rows: Rows, tokens: int, first: int | None = None) -> np.ndarray:
        """`logps` of all rows, or the first ones, without gradients, `tokens` at a time.

        Returns (rows, sides) float64.
        """
        self.model.eval()
        found = np.empty((len(rows.tokens[:first]), rows.sides))
        # by length, so that rows of one pass attend in few groups
        order = np.argsort(rows.tokens[:first], kind="stable")
        for index in rows.batches(order, tokens):
            found[index] = self.logps(rows, index)[0].double().cpu().numpy()
        return found

    def _shared(self, rows: Rows, index: np.ndarray) -> tuple[Tensor, Scored]:
        packed = rows.pack(index, self.device)
        hidden = self._base.base_model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            # of four dimensions: taken as ready, so that no mask over all tokens is made
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self.device),
            shared_prefix=attention.Layout(packed),
            use_cache=False,
        ).last_hidden_state[0]
        head = self._base.get_output_embeddings()
        scored = packed.scored
        hidden = hidden.index_select(0, scored.predictor)
        return token_logps(hidden, head.weight, head.bias, scored.target), scored

    def _separate(self, rows: Rows, index: np.ndarray) -> tuple[Tensor, Scored]:
        padded = rows.pad(index, self.device)
        logits = self.model(
            input_ids=padded.input_ids, attention_mask=padded.mask, use_cache=False
        ).logits
        scored = padded.scored
        logps = torch.log_softmax(logits.flatten(0, 1)[scored.predictor].float(), -1)
        return logps.gather(1, scored.target[:, None])[:, 0], scored

    @torch.no_grad()
    def generate(self, input_ids: Tensor, mask: Tensor, **settings: Any) -> Tensor:
        """`transformers`' generation by these settings and no other: what the model's own
        `generation_config` adds, such as a penalty, would make its answers no draws from it.

        input_ids, mask: (n, length), padded on the left. Returns (n, length + new).
        """
        from transformers import GenerationConfig

        self.model.eval()
        own = self._base.generation_config
        self._base.generation_config = GenerationConfig(**settings)
        try:
            with self._precision():
                return self.model.generate(input_ids=input_ids, attention_mask=mask)
        finally:
            self._base.generation_config = own

    def _precision(self) -> Any:
        enabled = self.autocast is not None
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled)

    def use_default_attention(self) -> None:
        """Leave the model as `transformers` made it, to be saved."""
        self._base.set_attn_implementation(self.default_attention)

    @torch.no_grad()
    def _takes_shared_prefixes(self, longest: int) -> bool:
        head = self._base.get_output_embeddings()
        if type(head) is not nn.Linear:
            return False
        self.model.train()  # as in training, where what is random would show
        rows = Rows(*_random_pairs(self._base.config.vocab_size, longest))
        index = np.arange(len(rows))
        separate, scored = self._separate(rows, index)
        attention.register()
        try:
            self._base.set_attn_implementation(attention.NAME)
            shared, order = self._shared(rows, index)
            error = (order.sums(shared) - scored.sums(separate)).abs() / scored.lengths
        except Exception:  # whatever a model does with arguments that it does not know
            error = torch.tensor(torch.inf)
        if bool(error.max() < TOLERANCE):
            return True
        self.use_default_attention()
        return False


def _without_dropout(model: nn.Module) -> None:
    """As in DPO's practice, the score of a policy is not random; adapters keep their dropout."""
    for name, module in model.named_modules():
        if "lora_dropout" not in name:
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for key, value in vars(module).items():
                if "drop" in key and isinstance(value, float):
                    setattr(module, key, 0.0)


def _random_pairs(vocabulary: int, longest: int) -> tuple[Encoded, Encoded]:
    draw = seeding.generator(0, "self-check")
    longest = max(longest, 8)
    shared = [draw.integers(0, vocabulary, size) for size in (longest // 2, longest // 4)]
    sides = []
    for sizes in ((longest // 2, longest // 4), (longest // 4, longest // 2)):
        ids = [
            np.concatenate([prefix, draw.integers(0, vocabulary, size)])
            for prefix, size in zip(shared, sizes, strict=True)
        ]
        sides.append(Encoded(ids, np.array([len(prefix) for prefix in shared])))
    return sides[0], sides[1]
