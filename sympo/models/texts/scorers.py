"""Base classes of models that score the two answers of a row."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sympo import seeding
from sympo.distributed import processes
from sympo.distributed.level import leveled
from sympo.models.texts import adapters
from sympo.models.texts.cudnn_attention import without_cudnn_attention
from sympo.models.texts.packed_rows import PackedBatch, PackedRows
from sympo.models.texts.shared_prefix_attention import (
    NAME,
    Grouped,
    Layout,
    VariableLength,
    register,
)
from sympo.models.texts.varlen_attention import Operator, operators, supports
from sympo.models.texts.working_copies import WorkingCopies
from sympo.process import compiled_code
from sympo.protocols.models import Splittable
from sympo.types import Encoded

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16}


class BaseScorer(ABC):
    """A model that scores the answers of rows.

    model: the weights that are trained. exact: whether it scores both answers of a row in one pass.
    note: one line about how it scores if that is not the fastest way; empty otherwise. divided:
    whether processes divide its weights, and must take equally many passes.
    """

    model: Any
    exact: bool = True
    note: str = ""
    divided: bool = False

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @abstractmethod
    def scores(self, rows: Any, index: np.ndarray) -> Tensor:
        """The score of each answer of the rows with these numbers; (rows, sides), float32."""

    @torch.no_grad()
    def score(self, rows: Splittable, tokens: int, first: int | None = None) -> np.ndarray:
        """`scores` of all rows, or the first ones, without gradients, `tokens` at a time; several
        processes share the rows.

        Returns (rows, sides) float64.
        """
        self.model.eval()
        found = np.empty((len(rows.tokens[:first]), rows.sides))
        # sorted by length, so that the rows of a pass form few groups in attention
        order = np.argsort(rows.tokens[:first], kind="stable")
        own = processes.share(order)
        for index, counts in leveled(rows.batches(own, tokens), self.divided):
            scores = self.scores(rows, index).double().cpu().numpy()
            if counts:
                found[index] = scores
        processes.fill(found, own)
        return found

    def compile_layers(self, longest: int) -> str:
        """Compile the model's layers for training; returns why they could not be, or "".

        longest: tokens of the longest sequence.
        """
        return ""


class PretrainedScorer(BaseScorer):
    """A model of `transformers`, with or without adapters of `peft`.

    model: with float32 weights; precision: of the matrix products, float32 or bfloat16; scores are
        float32 in both.
    longest: tokens of the longest sequence, the length of the self-check.
    attention: of packed rows, `grouped`, or `auto`: in one variable-length call on CUDA in half
        precision, grouped elsewhere. compiled: whether to compile the layers at once; see
        `compile_layers`.

    exact says whether the model supports rows with shared prefixes: two random pairs are scored
    both ways once, in float32. If the scores differ, or the model cannot be called that way, each
    answer gets a separate row in a padded batch. Variable-length attention is then checked at every
    layer, in the precision of training: an operator that raises, forward or backward, or is off by
    more than rounding is not used.

    In bfloat16 the linear layers compute with copies of their weights (`WorkingCopies`), unless the
    model refuses them.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: str = "float32",
        longest: int = 64,
        attention: str = "auto",
        compiled: bool = False,
    ) -> None:
        self.model = model
        self.autocast = AUTOCAST[precision]
        self.layout: Callable[[PackedBatch], Layout] = Grouped
        self.copies: WorkingCopies | None = None
        _without_dropout(model)
        self.default_attention = self._base.config._attn_implementation
        self.exact = self._takes_shared_prefixes(longest)
        if not self.exact:
            self.note = "this model cannot share prefixes: each response gets its own row"
        if self.autocast is not None:
            self._use_copies(self.autocast, longest)
        if self.exact and attention == "auto" and supports(self.device, self.autocast):
            self._use_variable_length(longest)
        if compiled:
            self.compile_layers(longest)

    def _add_note(self, line: str) -> None:
        self.note = f"{self.note}; {line}" if self.note else line

    @property
    def _base(self) -> Any:
        return adapters.base(self.model)

    def _layers(self) -> list[nn.Module]:
        names = set(getattr(self._base, "_no_split_modules", None) or ())
        return [module for module in self._base.modules() if type(module).__name__ in names]

    def _linear_layers(self) -> Iterator[nn.Module]:
        """The modules whose weights autocast would cast in every pass."""
        from transformers.pytorch_utils import Conv1D

        for layer in self._layers():
            yield from (one for one in layer.modules() if type(one) in (nn.Linear, Conv1D))

    def _original(self, weight: Tensor) -> Tensor | None:
        """The float32 weight behind a working copy; None if it is not one."""
        return None if self.copies is None else self.copies.original(weight)

    def compile_layers(self, longest: int) -> str:
        """Compile the layers by torch.compile, which takes up to a minute.

        A pass over random pairs, forward and backward, must work and agree with the layers as they
        were; otherwise they stay so, and the reason is returned. longest: tokens of a sequence.
        """
        layers, check = self._layers(), self._rows_to_check(longest)
        self.model.train()
        with torch.no_grad():
            expected = self.scores(*check)
        register(compiled=True)
        for layer in layers:
            layer.compile(dynamic=True)
        try:
            found = self.scores(*check)
            if found.requires_grad:
                torch.autograd.backward(found.sum())
            failure = "" if self._agree(found, expected, check[0]) else "their scores differ"
        except Exception as error:  # whatever the compiler raises
            failure = _short(error)
        self.model.zero_grad()
        if failure:
            for layer in layers:
                layer._compiled_call_impl = None
        else:
            compiled_code.add("layers, by torch.compile")
        return failure

    def _agree(self, found: Tensor, expected: Tensor, rows: PackedRows) -> bool:
        """Whether compiled layers give finite scores and, in float32, the same."""
        same = self.autocast is not None or not self._differ(found, expected, rows)
        return same and bool(found.isfinite().all())

    @contextmanager
    def _eager_layers(self) -> Iterator[None]:
        """Without compiled layers, which would be compiled again for each size of a cache."""
        layers = self._layers()
        compiled = [layer._compiled_call_impl for layer in layers]
        for layer in layers:
            layer._compiled_call_impl = None
        try:
            yield
        finally:
            for layer, call in zip(layers, compiled, strict=True):
                layer._compiled_call_impl = call

    def scores(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        with self._computing():
            return (self._shared if self.exact else self._separate)(rows, index)

    @abstractmethod
    def _shared(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        """Scores (rows, sides) by one pass over packed rows."""

    @abstractmethod
    def _separate(self, rows: PackedRows, index: np.ndarray) -> Tensor:
        """Scores (rows, sides) by the model's own forward pass over a row for each answer."""

    @abstractmethod
    def _differ(self, shared: Tensor, separate: Tensor, rows: PackedRows) -> bool:
        """Whether the two kinds of scores differ by more than rounding."""

    def _can_share(self) -> bool:
        """Whether the model has the parts that `_shared` calls."""
        return True

    def _hidden(self, packed: PackedBatch) -> Tensor:
        """The last hidden state of every token of a packed batch; (tokens, size)."""
        hidden: Tensor = self._base.base_model(
            input_ids=packed.input_ids,
            position_ids=packed.position_ids,
            # four-dimensional masks are used unchanged, so no mask over all tokens is built
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self.device),
            shared_prefix=self.layout(packed),
            use_cache=False,
        ).last_hidden_state[0]
        return hidden

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """In the precision of products, and without kernels that plan for every new shape."""
        enabled = self.autocast is not None
        precision = torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled)
        copies = nullcontext() if self.copies is None else self.copies.in_use()
        with precision, copies, without_cudnn_attention():
            yield

    def use_default_attention(self) -> None:
        """Restore the attention of `transformers`, to save the model."""
        self._base.set_attn_implementation(self.default_attention)

    def save(self, folder: Path) -> None:
        """Write the model to a folder in the hub's format; adapters alone if it has any."""
        attention = self._base.config._attn_implementation
        self.use_default_attention()
        try:
            if processes.first():
                self.model.save_pretrained(folder)
        finally:
            self._base.set_attn_implementation(attention)

    @torch.no_grad()
    def _takes_shared_prefixes(self, longest: int) -> bool:
        if not self._can_share():
            return False
        self.model.train()  # as in training, so that dropout would show
        rows, index = self._rows_to_check(longest)
        separate = self._separate(rows, index)
        register()
        try:
            self._base.set_attn_implementation(NAME)
            differ = self._differ(self._shared(rows, index), separate, rows)
        except Exception:  # whatever a model raises about unknown arguments
            differ = True
        if differ:
            self.use_default_attention()
        return not differ

    @torch.no_grad()
    def _use_copies(self, dtype: torch.dtype, longest: int) -> None:
        """Compute with copies of the weights, if the model can."""
        self.copies = WorkingCopies(self._linear_layers(), dtype)
        self.model.train()
        try:
            self.scores(*self._rows_to_check(longest))
        except Exception as error:  # such as a layer that turns autocast off
            self.copies = None
            self._add_note(f"each pass casts the weights, as copies fail: {_short(error)}")

    def _use_variable_length(self, longest: int) -> None:
        """Use the first operator that passes the check; leave a note if none does."""
        failure = "this torch has no operator for it"
        for operator in operators():
            failure = self._failure(operator, longest)
            if not failure:
                self.layout = partial(VariableLength, operator=operator)
                return
        self._add_note(
            f"packed rows attend in groups, as variable-length attention fails: {failure}"
        )

    @torch.no_grad()
    def _failure(self, operator: Operator, longest: int) -> str:
        """What is wrong with an operator, in the precision of training; empty if nothing is."""
        self.model.train()
        self.layout = partial(VariableLength, operator=operator, checked=True)
        try:
            with self._computing():
                self._shared(*self._rows_to_check(longest))
        except Exception as error:  # whatever an operator raises on other hardware
            return _short(error)
        finally:
            self.layout = Grouped
        return ""

    def _rows_to_check(self, longest: int) -> tuple[PackedRows, np.ndarray]:
        rows = PackedRows(*random_pairs(self._base.config.get_text_config().vocab_size, longest))
        return rows, np.arange(len(rows))


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _without_dropout(model: nn.Module) -> None:
    """Turn dropout off, as DPO implementations do; adapters keep theirs."""
    for name, module in model.named_modules():
        if "lora_dropout" not in name:
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            for key, value in vars(module).items():
                if "drop" in key and isinstance(value, float):
                    setattr(module, key, 0.0)


def random_pairs(vocabulary: int, longest: int) -> tuple[Encoded, Encoded]:
    """Two pairs of random token ids for the self-check."""
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
