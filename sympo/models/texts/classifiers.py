"""Settings of language models with a reward head: a tiny one, or one loaded from files."""

import copy
from abc import ABC
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch

from sympo import seeding
from sympo.models.texts import adapters, model_files
from sympo.models.texts.language_models import LanguageModel, TinyLM
from sympo.models.texts.pretrained_models import Hub, Pretrained
from sympo.ranges import Range
from sympo.types import Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PADDING = "<|padding|>"


class Classifier(LanguageModel, ABC):
    """A language model with a scalar head, the reward of a text."""

    kind: ClassVar[str] = "sequence classifier with one output"
    auto: ClassVar[str] = "AutoModelForSequenceClassification"
    task: ClassVar[str] = "SEQ_CLS"  # for which peft trains the head whole
    answers: ClassVar[bool] = False

    @property
    def _head(self) -> dict[str, Any]:
        return {"num_labels": 1}


@dataclass(frozen=True, kw_only=True)
class TinyReward(Classifier, TinyLM):
    """A small Llama with a reward head and random weights, drawn from the cell's seed."""

    identity: ClassVar[str] = "tiny_reward"

    max_positions: Annotated[int, Range(least=1, most=2**20)] = 512


@dataclass(frozen=True, kw_only=True)
class PretrainedReward(Classifier, Pretrained, ABC):
    """A model in the hub's format with a reward head: its own if that has one output, otherwise a
    new one, drawn from the cell's seed."""

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        own = super().tokenizer()
        assert own is not None  # `check` has seen its files
        if own.eos_token is None and own.sep_token is not None:
            # the tokens that encoders put around a text
            own.bos_token, own.eos_token = own.cls_token, own.sep_token
        return own

    def sizes(self) -> tuple[int | None, int | None]:
        ids, positions = super().sizes()
        # RoBERTa does not use its first two positions; its tokenizer knows how many remain
        tokenizer = self.tokenizer()
        assert tokenizer is not None
        texts = tokenizer.model_max_length
        return ids, texts if positions is None else min(positions, texts)

    def load(self, folder: Path) -> "PreTrainedModel":
        # a head of several outputs is not a reward: a new one replaces it
        settings = {"ignore_mismatched_sizes": True, "output_loading_info": True, **self._head}
        model: PreTrainedModel
        model, loading = self._load(folder, self._trusts_code, **settings)
        for name, *_ in sorted(loading["mismatched_keys"]):
            if name.startswith(f"{model.base_model_prefix}."):
                raise self._refused(f"has {name} of another size than its config says", folder)
        return model

    def build(self, vocabulary: Vocabulary, seed: int) -> "PreTrainedModel":
        with torch.random.fork_rng():
            torch.manual_seed(seeding.derive(seed, "weights"))
            model = self.load(self.folder)
            embeddings: Any = model.get_input_embeddings()
            if vocabulary.size > embeddings.num_embeddings:
                model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
        model.config.get_text_config().pad_token_id = vocabulary.pad
        model.config.pad_token_id = vocabulary.pad
        return model


@dataclass(frozen=True, kw_only=True)
class HubReward(PretrainedReward, Hub):
    """Any model by folder or name on the hub, with a reward head."""

    identity: ClassVar[str] = "hub_reward"


@dataclass(frozen=True, kw_only=True)
class Released(HubReward):
    """A trained reward model, released or saved by a job, for judging."""

    identity: ClassVar[str] = "released"
    example: ClassVar[str] = "RUN/model, of job=reward_model with job.save_model=true"

    def check(self) -> None:
        if (self.folder / "summary.json").is_file():
            there = (self.folder / "model").is_dir()
            rule = "give its folder model" if there else "run it with job.save_model=true"
            raise self._refused(f"is a run folder: {rule}", self.folder)
        self.check_files()
        made = self._config.architectures or [""]
        own = getattr(self._config, "auto_map", None) or {}
        if "SequenceClassification" not in made[0] and self.auto not in own:
            raise self._refused(f"is a {made[0]}, which has no reward head", self.folder)
        outputs = self._config.num_labels
        if outputs != 1:
            raise self._refused(f"has {outputs} outputs, not one", self.folder)

    @property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder, trust_remote_code=self.trust_remote_code)

    def tokenizer(self) -> "PreTrainedTokenizerBase | None":
        """None if the folder has none, e.g. for a language with its own symbols."""
        return super().tokenizer() if list(self.folder.glob("tokenizer*")) else None

    def sizes(self) -> tuple[int | None, int | None]:
        return super().sizes() if self.tokenizer() is not None else Hub.sizes(self)

    def load(self, folder: Path) -> "PreTrainedModel":
        """The model; BadArgument if the weights lack its head, which would be random."""
        model: PreTrainedModel
        model, loading = self._load(folder, self.trust_remote_code, output_loading_info=True)
        if missing := sorted(loading["missing_keys"]):
            raise self._refused(f"lacks {missing[0]}: it was not trained", folder)
        return model


def with_padding(tokenizer: Any, vocabulary: Vocabulary) -> tuple[Any, Vocabulary]:
    """A tokenizer and its vocabulary with a padding token that does not end texts.

    Classifiers read the reward at the last token that is not padding: if padding is the end of
    sequence, as in GPT-2, they would read it too early. A separate token is then added.
    """
    if tokenizer is None:
        return None, vocabulary
    tokenizer = copy.deepcopy(tokenizer)  # the data are encoded with the original
    if vocabulary.pad == vocabulary.eos:
        tokenizer.add_special_tokens({"pad_token": PADDING})
        vocabulary = replace(vocabulary, size=len(tokenizer), pad=tokenizer.pad_token_id)
    else:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(vocabulary.pad)
    return tokenizer, vocabulary


def save(model: Any, tokenizer: Any, template: str, folder: Path) -> None:
    """Save a reward model in the hub's format, adapters merged into its weights.

    template: of dialogues, if the tokenizer has none, so that they are rendered as in training; the
    tokenizer pads on the right.
    """
    adapters.merged(model).save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.chat_template = tokenizer.chat_template or template
        tokenizer.padding_side = "right"
        tokenizer.save_pretrained(folder)
    model_files.seal(folder)
