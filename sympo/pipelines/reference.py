"""Settings of the reference policy: its fine-tuning and its sampling."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sympo.models.texts.cudnn_attention import without_cudnn_attention
from sympo.models.texts.language_models import LanguageModel
from sympo.models.texts.policies import Policy
from sympo.models.texts.working_copies import in_use_again
from sympo.pipelines.compiling import Compile
from sympo.ranges import Amount, Seed, TokensPerPass
from sympo.sampling import Sampling
from sympo.training.optimizer import Recipe


@dataclass(frozen=True, kw_only=True)
class FineTuning(Recipe):
    """Supervised fine-tuning on the released chosen responses, the same for every cell; 0 epochs
    leave the model unchanged."""

    identity: ClassVar[str] = "fine_tuning"

    epochs: Amount = 1
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The policy that a cell starts from, or whose responses form its pairs.

    model: before supervised fine-tuning. precision: of the matrix products, float32 or bfloat16.
    """

    identity: ClassVar[str] = "reference"
    outside_identity: ClassVar[frozenset[str]] = frozenset(
        {"tokens_per_pass", "gradient_checkpointing", "attention", "compile"}
    )

    model: LanguageModel
    sft: FineTuning = field(default_factory=FineTuning)
    sampling: Sampling = field(default_factory=Sampling)
    precision: str = "float32"
    gradient_checkpointing: bool = False
    tokens_per_pass: TokensPerPass = "auto"
    attention: str = "auto"
    compile: Compile = "auto"

    @property
    def plain(self) -> bool:
        """Whether it is computed as small models are together: in float32, without options."""
        return is_plain(self)

    def policy(self, model: Any, longest: int, device: str) -> Policy:
        """Wrap a model as a policy on a device, for sequences of at most `longest` tokens."""
        if self.gradient_checkpointing:
            checkpoint_activations(model)
        return Policy(model.to(device), self.precision, longest, self.attention)


def is_plain(settings: Any) -> bool:
    """Whether settings of a reference or a job ask for float32 and nothing else, as models that are
    trained together are computed."""
    options = settings.compile is True or settings.gradient_checkpointing
    return settings.precision == "float32" and settings.attention == "auto" and not options


def checkpoint_activations(model: Any) -> None:
    """Enable activation checkpointing in a `transformers` model."""
    # transformers before 5.2x has only the old name
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)(
        {"use_reentrant": False, "context_fn": _contexts}
    )


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of the forward pass, and of its recomputation outside `PretrainedScorer.scores`."""
    return nullcontext(), _recomputing(in_use_again())


@contextmanager
def _recomputing(copies: AbstractContextManager[None]) -> Iterator[None]:
    with copies, without_cudnn_attention():
        yield
