"""What the settings of language models share, and a tiny model that is built from scratch."""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch

from sympo import ranges, seeding
from sympo.models.texts import model_files
from sympo.protocols.models import Reads
from sympo.ranges import Dropout, Positive, Range, Width
from sympo.types import BadArgument, BadInput, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class LanguageModel(ABC):
    """What the settings of language models share.

    kind, auto, task: the kind of model in words, as a class of `transformers` and as a task of
    `peft`.

    lora_rank: rank of the adapters that training updates, None to train all weights; supervised
        fine-tuning merges its adapters into the weights.
    lora_alpha, lora_dropout: scale and dropout of the adapters; lora_targets: names of the linear
        layers that get one, or `all-linear`.
    """

    kind: ClassVar[str] = "causal language model"
    auto: ClassVar[str] = "AutoModelForCausalLM"
    task: ClassVar[str] = "CAUSAL_LM"
    outside_identity: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[Reads] = "tokens"
    answers: ClassVar[bool] = True

    lora_rank: Width | None = None
    lora_alpha: Positive = 16.0
    lora_dropout: Dropout = 0.0
    lora_targets: str | list[str] = field(default="all-linear", hash=False)

    @abstractmethod
    def check(self) -> None:
        """Raise BadInput if the model or its files cannot work."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the model's files, used in place of their path."""

    @abstractmethod
    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """Its tokenizer, if it has one."""

    @abstractmethod
    def sizes(self) -> tuple[int | None, int | None]:
        """Numbers of token ids and of positions; None for no limit."""

    @property
    def stacks(self) -> bool:
        """Whether it is trained and sampled from together with others of its shape, as a
        `StackedLlama`."""
        return False

    @property
    def released(self) -> Path | None:
        """The folder that it is loaded from; None if it is built from scratch."""
        return None

    @property
    def _head(self) -> dict[str, Any]:
        """Settings of the head in its config."""
        return {}

    @abstractmethod
    def build(self, vocabulary: Vocabulary, seed: int) -> "PreTrainedModel":
        """The model before any training, in float32."""

    def load(self, folder: Path) -> "PreTrainedModel":
        """A trained descendant from a folder in the hub's format, in float32."""
        model: PreTrainedModel = self._load(folder, trust_remote_code=False)
        return model

    def _load(self, folder: Path, trust_remote_code: bool, **settings: Any) -> Any:
        import transformers

        try:
            return getattr(transformers, self.auto).from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                **settings,
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BadInput(f"{folder} does not load as a {self.kind}: {reason}") from error

    def adapt(self, model: "PreTrainedModel", seed: int) -> torch.nn.Module:
        """The model as trained: with adapters if a rank is set."""
        if self.lora_rank is None:
            return model
        from peft import LoraConfig, get_peft_model

        targets = self.lora_targets
        if isinstance(targets, str) and targets != "all-linear":
            targets = [targets]  # peft takes a string for a pattern of whole names
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # peft still uses deprecated names of transformers
            torch.manual_seed(seeding.derive(seed, "adapters"))
            return get_peft_model(
                model,
                LoraConfig(
                    r=self.lora_rank,
                    lora_alpha=self.lora_alpha,  # type: ignore[arg-type]
                    lora_dropout=self.lora_dropout,
                    target_modules=targets,
                    task_type=self.task,
                ),
            )

    def restored(self, base: "PreTrainedModel", folder: Path) -> torch.nn.Module:
        """The trained model that `PretrainedScorer.save` wrote to a folder.

        base: the model before training.
        """
        if self.lora_rank is None:
            return self.load(folder)
        from peft import PeftModel

        return PeftModel.from_pretrained(base, str(folder))

    def _check_adapters(self, skeleton: "PreTrainedModel") -> None:
        ranges.check(self)
        if self.lora_rank is not None:
            try:
                self.adapt(skeleton, 0)
            except (ValueError, TypeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise BadArgument(
                    "lora_targets", self.lora_targets, f"is not allowed: {reason}"
                ) from error


@dataclass(frozen=True, kw_only=True)
class TinyLM(LanguageModel):
    """A small Llama with random weights, drawn from the seed of supervised fine-tuning.

    tokenizer_path: a folder with a tokenizer, for data sets of text; None for data sets with their
        own vocabulary.
    """

    identity: ClassVar[str] = "tiny_lm"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"tokenizer_path"})

    hidden_size: Width = 64
    intermediate_size: Width = 128
    layers: Annotated[int, Range(least=1, most=1000)] = 2
    heads: Width = 4
    max_positions: Annotated[int, Range(least=1, most=2**20)] = 64
    tokenizer_path: str | None = None

    def check(self) -> None:
        ranges.check(self)
        if self.hidden_size % (2 * self.heads):
            raise BadArgument(
                "heads",
                self.heads,
                f"must divide hidden_size={self.hidden_size} into heads of an even size",
            )
        if self.tokenizer_path is not None:
            folder = Path(self.tokenizer_path)
            if lacking := model_files.lacks_tokenizer(folder):
                raise BadArgument("tokenizer_path", folder, lacking)
        with torch.device("meta"):
            self._check_adapters(self.build(Vocabulary(size=3, bos=None, eos=1, pad=2), 0))

    def fingerprint(self) -> str:
        if self.tokenizer_path is None:
            return ""
        return model_files.content(Path(self.tokenizer_path), model_files.PATTERNS)

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        path = self.tokenizer_path
        return None if path is None else model_files.tokenizer(path, trust_remote_code=False)

    @property
    def stacks(self) -> bool:
        # a subclass may build another model; a tokenizer has too many tokens for dense logits
        own = type(self) is TinyLM
        return own and self.lora_rank is None and self.tokenizer_path is None

    def sizes(self) -> tuple[int | None, int | None]:
        return None, self.max_positions

    def build(self, vocabulary: Vocabulary, seed: int) -> "PreTrainedModel":
        import transformers

        config = transformers.LlamaConfig(
            vocab_size=vocabulary.size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            max_position_embeddings=self.max_positions,
            bos_token_id=vocabulary.bos,
            eos_token_id=vocabulary.eos,
            pad_token_id=vocabulary.pad,
            tie_word_embeddings=True,
            **self._head,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seeding.derive(seed, "weights"))
            made: PreTrainedModel = getattr(transformers, self.auto).from_config(config)
            return made
