"""Settings of causal models that are loaded from files in the hub's format."""

import json
import logging
import textwrap
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch

from sympo.models.texts import model_files
from sympo.models.texts.language_models import LanguageModel
from sympo.types import BadArgument, BadInput, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
TRUST = "trust_remote_code=true"


@cache
def _warn_of_code(folder: Path) -> None:
    """Say, once for each folder, which code may run."""
    names = ", ".join(sorted(file.name for file in folder.glob("*.py"))) or "from the hub"
    log.warning("%s: code that comes with %s may run on this machine: %s", TRUST, folder, names)


@dataclass(frozen=True, kw_only=True)
class Pretrained(LanguageModel, ABC):
    """A model in a folder in the hub's format, safetensors only."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The folder of the model's files; raises BadInput if there is none."""

    @property
    def _trusts_code(self) -> bool:
        """Whether code shipped with the model may run."""
        return False

    @property
    def _patterns(self) -> tuple[str, ...]:
        return (*model_files.PATTERNS, "*.py") if self._trusts_code else model_files.PATTERNS

    def _refused(self, rule: str, folder: Path) -> BadInput:
        return BadInput(f"{folder} {rule}")

    def check(self) -> None:
        self.check_files()
        if lacking := model_files.lacks_tokenizer(self.folder):
            raise self._refused(lacking, self.folder)
        self._check_adapters(self._skeleton())

    def check_files(self) -> None:
        """Raise BadInput if config or weights are missing, broken or changed since a run saved
        them; name the code that may run."""
        if self._trusts_code:
            _warn_of_code(self.folder)
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
        model_files.check_seal(self.folder)
        for file in weights:
            model_files.check_weights(file)

    def _skeleton(self) -> "PreTrainedModel":
        """The model without its weights."""
        import transformers

        trusted = {"trust_remote_code": self._trusts_code}
        try:
            config = transformers.AutoConfig.from_pretrained(self.folder, **self._head, **trusted)
            with torch.device("meta"):
                auto = getattr(transformers, self.auto)
                made: PreTrainedModel = auto.from_config(config, **trusted)
                return made
        except Exception as error:  # whatever a config or its code raises
            reason = " ".join(str(error).split())
            if "trust_remote_code" in reason and not self._trusts_code:
                reason = "it needs code that comes with it, which runs only with " + TRUST
            reason = reason[:300]
            raise BadInput(
                f"{self.folder / 'config.json'} does not describe a {self.kind}: {reason}"
            ) from error

    def fingerprint(self) -> str:
        return model_files.content(self.folder, self._patterns)

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        return model_files.tokenizer(str(self.folder), self._trusts_code)

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
        model: PreTrainedModel = self._load(folder, self._trusts_code, **self._head)
        return model


@dataclass(frozen=True, kw_only=True)
class Hub(Pretrained):
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
    def _trusts_code(self) -> bool:
        return self.trust_remote_code

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
            reason = textwrap.shorten(str(error), 200, placeholder=" ...")
            raise self._refused(
                f"is not a folder and could not be downloaded from the hub ({reason}); set it to "
                "the folder of a local copy"
            ) from error

    def _refused(self, rule: str, folder: Path | None = None) -> BadArgument:
        return BadArgument("name_or_path", folder or self.name_or_path, rule)
