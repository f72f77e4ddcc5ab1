"""What scores the two sides of rows; a difference of scores is what a loss is a function of."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sympo import seeding
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.shared_prefix_attention import LAYOUTS, NAME, register
from sympo.types import Encoded

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


class Splittable(Protocol):
    """Rows of one or two sides that can be scored a part at a time.

    tokens: (rows,) the size of each row; lengths: (rows, sides) float, scored tokens of each side.
    """

    sides: int
    tokens: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int: ...

    def batches(self, index: np.ndarray, most_tokens: int) -> Iterator[np.ndarray]: ...


class Scorer(ABC):
    """A model that scores rows; model: what is trained.

    exact: whether it scores both sides of a row in one pass.
    """

    model: Any
    exact: bool = True

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @abstractmethod
    def scores(self, rows: Any, index: np.ndarray) -> Tensor:
        """The score of each side of the rows with these numbers; (rows, sides), float32."""

    @torch.no_grad()
    def score(self, rows: Splittable, tokens: int, first: int | None = None) -> np.ndarray:
        """`scores` of all rows, or the first ones, without gradients, `tokens` at a time.

        Returns (rows, sides) float64.
        """
        self.model.eval()
        found = np.empty((len(rows.tokens[:first]), rows.sides))
        # by length, so that rows of one pass attend in few groups
        order = np.argsort(rows.tokens[:first], kind="stable")
        for index in rows.batches(order, tokens):
            found[index] = self.scores(rows, index).double().cpu().numpy()
        return found


class PretrainedScorer(Scorer):
    """A model of `transformers`, with or without adapters of `peft`.

    model: its weights are float32 masters; precision: float32, or bfloat16, in which the matrix
        products run; scores are float32 in both.
    longest: tokens of the longest sequence; the self-check runs at this length.
    attention: how packed rows attend, `grouped` or `flex` (CUDA only); compiled: whether the layers
        go through torch.compile, which takes a minute and pays on a GPU.

    exact says whether the model takes rows with shared prefixes: two random pairs are scored both
    ways once, and where the scores differ, or the model cannot be called that way, each side
    becomes a row of its own in a padded batch.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: str = "float32",
        longest: int = 64,
        attention: str = "grouped",
        compiled: bool = False,
    ) -> None:
        self.model = model
        self.autocast = AUTOCAST[precision]
        self.layout, self.compiled = LAYOUTS[attention], compiled
        _without_dropout(model)
        if compiled:
            for layer in self._layers():
                layer.compile(dynamic=True)
        self.default_attention = self._base.config._attn_implementation
        self.exact = self._takes_shared_prefixes(longest)

    @property
    def _base(self) -> Any:
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    def _layers(self) -> list[nn.Module]:
        names = set(getattr(self._base, "_no_split_modules", None) or ())
        return [module for module in self._base.modules() if type(module).__name__ in names]

    def scores(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        with self._precision():
            return (self._shared if self.exact else self._separate)(rows, index)

    @abstractmethod
    def _shared(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        """Scores (rows, sides) by one pass over packed rows."""

    @abstractmethod
    def _separate(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        """Scores (rows, sides) by the model's own forward pass over a row for each side."""

    @abstractmethod
    def _differ(self, shared: Tensor, separate: Tensor, rows: PackedRows) -> bool:
        """Whether scores of the two kinds are further apart than rounding takes them."""

    def _can_share(self) -> bool:
        """Whether the model has the parts that `_shared` calls."""
        return True

    def _hidden(self, packed: Any) -> Tensor:
        """The last hidden state of every token of a packed batch; (tokens, size)."""
        return self._base.base_model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            # of four dimensions: taken as ready, so that no mask over all tokens is made
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self.device),
            shared_prefix=self.layout(packed),
            use_cache=False,
        ).last_hidden_state[0]

    def _precision(self) -> Any:
        enabled = self.autocast is not None
        return torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled)

    def use_default_attention(self) -> None:
        """Leave the model as `transformers` made it, to be saved."""
        self._base.set_attn_implementation(self.default_attention)

    @torch.no_grad()
    def _takes_shared_prefixes(self, longest: int) -> bool:
        if not self._can_share():
            return False
        self.model.train()  # as in training, where what is random would show
        rows = PackedRows(*random_pairs(self._base.config.get_text_config().vocab_size, longest))
        index = np.arange(len(rows))
        separate = self._separate(rows, index)
        register(self.compiled)
        try:
            self._base.set_attn_implementation(NAME)
            differ = self._differ(self._shared(rows, index), separate, rows)
        except Exception:  # whatever a model does with arguments that it does not know
            differ = True
        if differ:
            self.use_default_attention()
        return not differ


def _without_dropout(model: nn.Module) -> None:
    """As in DPO's practice, a score is not random; adapters keep their dropout."""
    for name, module in model.named_modules():
        if "lora_dropout" not in name:
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for key, value in vars(module).items():
                if "drop" in key and isinstance(value, float):
                    setattr(module, key, 0.0)


def random_pairs(vocabulary: int, longest: int) -> tuple[Encoded, Encoded]:
    """Two pairs of random ids, to check a model with."""
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
