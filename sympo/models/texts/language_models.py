"""Settings of language models: a tiny one built from scratch, or any from a folder or the hub."""

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch

from sympo import ranges, seeding
from sympo.protocols.models import Reads
from sympo.ranges import Dropout, Positive, Range, Width
from sympo.types import BadArgument, BadInput, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_FILES = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


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
            _check_tokenizer("tokenizer_path", Path(self.tokenizer_path))
        with torch.device("meta"):
            self._check_adapters(self.build(Vocabulary(size=3, bos=None, eos=1, pad=2), 0))

    def fingerprint(self) -> str:
        return "" if self.tokenizer_path is None else _content(Path(self.tokenizer_path), _FILES)

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        return None if self.tokenizer_path is None else _tokenizer(self.tokenizer_path, False)

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


@dataclass(frozen=True, kw_only=True)
class Hub(LanguageModel):
    """Any causal model in the hub's format, safetensors only.

    name_or_path: a local folder, or a name on the hub at `revision`.
    trust_remote_code: whether code shipped with the model may run.
    """

    identity: ClassVar[str] = "hub"
    outside_identity: ClassVar[frozenset[str]] = frozenset({"name_or_path"})
    example: ClassVar[str] = "meta-llama/Llama-3.2-3B-Instruct"

    name_or_path: str | None = None
    revision: str = "main"
    trust_remote_code: bool = False
    _folder: list[Path] = field(default_factory=list, repr=False, compare=False)

    @property
    def _patterns(self) -> tuple[str, ...]:
        return (*_FILES, "*.py") if self.trust_remote_code else _FILES

    @property
    def folder(self) -> Path:
        """The folder of the model's files, downloaded on first use."""
        if not self._folder:
            self._folder.append(self._resolve())
        return self._folder[0]

    def _resolve(self) -> Path:
        if self.name_or_path is None:
            raise self._refused(
                f"is not set: give a folder or a name on the hub, such as {self.example}"
            )
        local = Path(self.name_or_path).expanduser()
        if local.is_dir():
            return local
        if local.is_absolute() or self.name_or_path.startswith((".", "~")):
            raise self._refused("is not a folder")
        from huggingface_hub import snapshot_download

        try:
            return Path(
                snapshot_download(
                    self.name_or_path,
                    revision=self.revision,
                    allow_patterns=list(self._patterns),
                )
            )
        except Exception as error:  # no network, no such name, no permission
            reason = " ".join(str(error).split())[:200]
            raise self._refused(
                f"is not a folder and could not be downloaded from the hub: {reason}"
            ) from error

    def _refused(self, rule: str, folder: Path | None = None) -> BadArgument:
        return BadArgument("name_or_path", folder or self.name_or_path, rule)

    def check(self) -> None:
        self.check_files()
        _check_tokenizer("name_or_path", self.folder)
        self._check_adapters(self._skeleton())

    def check_files(self) -> None:
        """Raise BadInput if config or weights are missing or broken."""
        if not (self.folder / "config.json").is_file():
            raise self._refused("lacks config.json", self.folder)
        weights = sorted(self.folder.glob("*.safetensors"))
        if not weights:
            raise self._refused(
                "lacks weights in safetensors; other formats are not read, because reading them "
                "can run code",
                self.folder,
            )
        if (index := self.folder / "model.safetensors.index.json").is_file():
            named = set(json.loads(index.read_text())["weight_map"].values())
            for name in sorted(named - {file.name for file in weights}):
                raise self._refused(f"lacks {name}", self.folder)
        for file in weights:
            _check_weights(file)

    def _skeleton(self) -> "PreTrainedModel":
        """The model without its weights."""
        import transformers

        trusted = {"trust_remote_code": self.trust_remote_code}
        try:
            config = transformers.AutoConfig.from_pretrained(self.folder, **self._head, **trusted)
            with torch.device("meta"):
                auto = getattr(transformers, self.auto)
                made: PreTrainedModel = auto.from_config(config, **trusted)
                return made
        except Exception as error:  # whatever a config or its code raises
            reason = " ".join(str(error).split())[:300]
            raise BadInput(
                f"{self.folder / 'config.json'} does not describe a {self.kind}: {reason}"
            ) from error

    def fingerprint(self) -> str:
        return _content(self.folder, self._patterns)

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        return _tokenizer(str(self.folder), self.trust_remote_code)

    def sizes(self) -> tuple[int | None, int | None]:
        config = json.loads((self.folder / "config.json").read_text())
        text = config.get("text_config", config)
        positions = text.get("max_position_embeddings", text.get("n_positions"))
        return text.get("vocab_size"), positions

    @property
    def released(self) -> Path | None:
        return self.folder

    def build(self, vocabulary: Vocabulary, seed: int) -> "PreTrainedModel":
        return self.load(self.folder)

    def load(self, folder: Path) -> "PreTrainedModel":
        model: PreTrainedModel = self._load(folder, self.trust_remote_code, **self._head)
        return model


@lru_cache(maxsize=4)
def _tokenizer(folder: str, trust_remote_code: bool) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInput(f"the tokenizer in {folder} does not load: {reason}") from error


def _check_weights(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{file} is not a complete safetensors file: {error}") from error


def _check_tokenizer(argument: str, folder: Path) -> None:
    names = ("tokenizer.json", "tokenizer.model", "vocab.json")
    if not any((folder / name).is_file() for name in names):
        raise BadArgument(
            argument, folder, f"lacks a tokenizer: there is none of {', '.join(names)}"
        )


def _content(folder: Path, patterns: tuple[str, ...]) -> str:
    files = sorted(path for pattern in patterns for path in folder.glob(pattern))
    states = [path.stat() for path in files]
    return _content_of(tuple(files), tuple((one.st_size, one.st_mtime_ns) for one in states))


@lru_cache(maxsize=8)
def _content_of(files: tuple[Path, ...], states: tuple[tuple[int, int], ...]) -> str:
    # read again if a file has changed since
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
