"""Contracts of models, samplers, margins and losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from sympo.sampling.responses import Responses
    from sympo.sampling.settings import Sampling
    from sympo.types import Vocabulary

Reads = Literal["images", "tokens", "words"]


@runtime_checkable
class Loss(Protocol):
    """A function of the margin z = y g, and how a batch of its values becomes one number.

    average_log_ratio: z must be a difference of log-ratios per token, which only the `ipo` margin
        gives.
    """

    average_log_ratio: ClassVar[bool]

    def __call__(self, z: Tensor) -> Tensor:
        """The loss of each margin; same shape and dtype as z."""
        ...

    def reduce(self, losses: Tensor) -> Tensor:
        """The number that each batch is trained on; (..., n) -> (...)."""
        ...

    def log_weight(self, losses: Tensor) -> Tensor:
        """The logarithm of each pair's weight in the gradient of `reduce`; (n,) -> (n,)."""
        ...


class Margin(Protocol):
    """How scores become rewards; the margin of a pair is z = y (r_1 - r_2) - target.

    reference_free: `rewards` ignores the reference. average_log_ratio: rewards are log-ratios per
        token. clip: bound of the rewards in training, or None.
    """

    reference_free: ClassVar[bool]
    average_log_ratio: ClassVar[bool]

    @property
    def clip(self) -> float | None: ...

    @property
    def target(self) -> float: ...

    def rewards(self, logps: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        """The reward of each answer, from its score, the reference's and its number of tokens; of
        the shape and dtype of logps."""
        ...

    def clipped(self, rewards: Tensor) -> Tensor:
        """Rewards as training sees them."""
        ...


class ModelSettings(Protocol):
    """What the settings of every model declare.

    reads: what the model is given. answers: it is a policy, otherwise a reward model.
    """

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]]
    reads: ClassVar[Reads]
    answers: ClassVar[bool]


class StackedModel(Protocol):
    """Reward models of C cells side by side; images (S, n, H, W) of S seeds -> rewards (C, n).

    Every tensor of its `state_dict` has the cells as first dimension; other state is the same for
    all cells that were trained equally long. advice: how to speed up training here, or "".

    A training pass is a function of its arguments and of tensors that stay in place, so that a GPU
    can repeat it as one recorded graph: its random numbers come from `draw`.
    """

    @property
    def advice(self) -> str: ...

    def draw(self, images: int) -> Tensor:
        """The random numbers of the next training pass over this many images of each seed, of one
        shape for one number of images; empty if it needs none."""
        ...

    def __call__(self, images: Tensor, drawn: Tensor | None = None) -> Tensor:
        """drawn: what `draw` returned; in evaluation, None."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> object: ...

    def to(self, device: torch.device) -> StackedModel: ...

    def train(self) -> object: ...

    def eval(self) -> object: ...


class ImageModel(ModelSettings, Protocol):
    """Settings of reward models of images; `reads` is "images"."""

    def check(self, image_size: tuple[int, int]) -> None:
        """Raise BadInput if images of this height and width do not fit."""
        ...

    def build(
        self, image_size: tuple[int, int], seeds: Sequence[int], cells_per_seed: Sequence[int]
    ) -> StackedModel:
        """Models for `cells_per_seed[i]` cells of each seed; equal seeds, equal weights."""
        ...


class TextModel(ModelSettings, Protocol):
    """Settings of any model of texts."""

    def check(self) -> None:
        """Raise BadInput if the model or its files cannot work."""
        ...

    def fingerprint(self) -> str:
        """A hash of the model's files, used in place of their path."""
        ...


class LanguageModelSettings(TextModel, Protocol):
    """Settings of a language model: a policy, or a reward model with a scalar head; `reads` is
    "tokens"."""

    @property
    def released(self) -> Path | None:
        """The folder that it is loaded from; None if it is built from scratch."""
        ...

    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """Its tokenizer, if it has one."""
        ...

    def sizes(self) -> tuple[int | None, int | None]:
        """Numbers of token ids and of positions; None for no limit."""
        ...

    def build(self, vocabulary: Vocabulary, seed: int) -> PreTrainedModel:
        """The model before any training, in float32."""
        ...

    def load(self, folder: Path) -> PreTrainedModel:
        """A trained descendant from a folder in the hub's format, in float32."""
        ...

    def adapt(self, model: PreTrainedModel, seed: int) -> torch.nn.Module:
        """The model as trained: with adapters if a rank is set."""
        ...

    def restored(self, base: PreTrainedModel, folder: Path) -> torch.nn.Module:
        """The trained model that a scorer saved to a folder; base: the model before training."""
        ...


class WordModel(TextModel, Protocol):
    """Settings of a reward model of words; `reads` is "words"."""

    def alike(self, first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """Which pairs of texts no weights can tell apart; (n,) bool."""
        ...

    def features(
        self, training: Sequence[Sequence[str]], others: Sequence[Sequence[Sequence[str]]]
    ) -> Sequence[Splittable]:
        """Features of both answers of the training pairs and of other splits' pairs."""
        ...

    def build(self, features: Any) -> Scorer:
        """An untrained scorer of such features."""
        ...


class Splittable(Protocol):
    """Rows of one or two answers that can be scored a part at a time.

    sides: answers per row; tokens: (rows,) size of each row; lengths: (rows, sides) float, scored
    tokens of each answer.
    """

    sides: int
    tokens: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int: ...

    def batches(self, index: np.ndarray, most_tokens: int) -> Iterator[np.ndarray]:
        """Row numbers, in their order, in parts of at most so many tokens."""
        ...


class Scorer(Protocol):
    """A model that scores the answers of rows; what it trains on is a difference of two scores.

    exact: whether it scores both answers of a row in one pass. note: one line about how it scores
    if that is not the fastest way; empty otherwise. divided: whether processes divide its weights,
    and must take equally many passes.
    """

    model: Any
    exact: bool
    note: str
    divided: bool

    @property
    def device(self) -> torch.device: ...

    def scores(self, rows: Any, index: np.ndarray) -> Tensor:
        """The score of each answer of the rows with these numbers; (rows, sides), float32."""
        ...

    def score(self, rows: Any, tokens: int, first: int | None = None) -> np.ndarray:
        """`scores` of all rows, or the first ones, without gradients, `tokens` at a time; (rows,
        sides) float64."""
        ...

    def compile_layers(self, longest: int) -> str:
        """Compile the model's layers for training on sequences of at most `longest` tokens; returns
        why they could not be, or an empty string."""
        ...


class Sampler(Protocol):
    """Draws responses from a policy; which sampler draws cannot change their distribution."""

    identity: ClassVar[str]
    outside_identity: ClassVar[frozenset[str]]

    @property
    def stacks(self) -> bool:
        """Whether `sample_stacked` makes its draws for policies that are trained together."""
        ...

    @property
    def shares(self) -> bool:
        """Whether several processes can draw its responses together."""
        ...

    def check(self, device: str) -> None:
        """Raise BadInput if it cannot sample from a policy on this device."""
        ...

    def note(self, device: str, prompts: int, sampling: Sampling) -> str:
        """One line about an unusual way of sampling so many responses; empty otherwise."""
        ...

    def sample(
        self,
        policy: Any,
        prompts: Sequence[np.ndarray],
        vocabulary: Vocabulary,
        sampling: Sampling,
        seed: int,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> Responses:
        """One response per prompt; temperature and top_p override those of `sampling`."""
        ...
