"""Language models with a reward head by config: a tiny one made here, or any from the hub."""

import copy
from abc import ABC
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from sympo import seeding
from sympo.models.texts.language_models import Hub, LanguageModel, TinyLM
from sympo.types import BadInput, Vocabulary

PADDING = "<|padding|>"


class Classifier(LanguageModel, ABC):
    """A language model whose head gives one number, the reward of a text."""

    kind: ClassVar[str] = "sequence classifier with one output"
    auto: ClassVar[str] = "AutoModelForSequenceClassification"
    task: ClassVar[str] = "SEQ_CLS"  # for which peft trains the head whole
    answers: ClassVar[bool] = False
    rewards_texts: ClassVar[bool] = True

    @property
    def _head(self) -> dict[str, Any]:
        return {"num_labels": 1}


@dataclass(frozen=True, kw_only=True)
class TinyReward(Classifier, TinyLM):
    """A small Llama with a reward head and random weights, drawn from the cell's seed."""


@dataclass(frozen=True, kw_only=True)
class HubReward(Classifier, Hub):
    """Any model in the hub's format with a reward head: its own where it has one of one output, and
    otherwise a new one, drawn from the cell's seed."""

    def tokenizer(self) -> Any:
        own = super().tokenizer()
        if own.eos_token is None and own.sep_token is not None:
            # encoders begin and end their texts with these
            own.bos_token, own.eos_token = own.cls_token, own.sep_token
        return own

    def sizes(self) -> tuple[int | None, int | None]:
        ids, positions = super().sizes()
        # of RoBERTa's positions the first two stand for none; its tokenizer knows how many are left
        texts = self.tokenizer().model_max_length
        return ids, texts if positions is None else min(positions, texts)

    def load(self, folder: Path) -> Any:
        # a head of several outputs, which is no reward, gives way to a new one
        settings = {"ignore_mismatched_sizes": True, "output_loading_info": True, **self._head}
        model, loading = self._load(folder, self.trust_remote_code, **settings)
        for name, *_ in sorted(loading["mismatched_keys"]):
            if name.startswith(f"{model.base_model_prefix}."):
                raise BadInput(
                    f"model.name_or_path={folder}: {name} has not the size of the config"
                )
        return model

    def build(self, vocabulary: Vocabulary, seed: int) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(seeding.derive(seed, "weights"))
            model = self.load(self.folder)
            if vocabulary.size > model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
        model.config.get_text_config().pad_token_id = vocabulary.pad
        model.config.pad_token_id = vocabulary.pad
        return model


@dataclass(frozen=True, kw_only=True)
class Released(HubReward):
    """A reward model as it was released or left by a job, to be asked and not to be trained."""

    example: ClassVar[str] = "RUN/model, of job=reward_model with job.save_model=true"

    def check(self) -> None:
        if (self.folder / "summary.json").is_file():
            there = (self.folder / "model").is_dir()
            raise BadInput(
                f"model.name_or_path={self.folder} is a run folder: "
                + ("give its folder model" if there else "run it with job.save_model=true")
            )
        self.check_files()
        made = self._config.architectures or [""]
        own = getattr(self._config, "auto_map", None) or {}
        if "SequenceClassification" not in made[0] and self.auto not in own:
            raise BadInput(f"model.name_or_path={self.folder}, a {made[0]}, has no reward head")
        outputs = self._config.num_labels
        if outputs != 1:
            raise BadInput(f"model.name_or_path={self.folder} has {outputs} outputs, not one")

    @property
    def _config(self) -> Any:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self.folder, trust_remote_code=self.trust_remote_code)

    def tokenizer(self) -> Any:
        """None where the folder has none, as that of a language with symbols of its own."""
        return super().tokenizer() if list(self.folder.glob("tokenizer*")) else None

    def sizes(self) -> tuple[int | None, int | None]:
        return super().sizes() if self.tokenizer() is not None else Hub.sizes(self)

    def load(self, folder: Path) -> Any:
        """The model; BadInput where its head is not among the weights: it would be a random one."""
        model, loading = self._load(folder, self.trust_remote_code, output_loading_info=True)
        if missing := sorted(loading["missing_keys"]):
            raise BadInput(f"model.name_or_path={folder} lacks {missing[0]}: it was not trained")
        return model


def with_padding(tokenizer: Any, vocabulary: Vocabulary) -> tuple[Any, Vocabulary]:
    """A tokenizer and its vocabulary with a padding token that ends no text.

    Classifiers read a text at its last token that is no padding, so where padding is the end of
    sequence, as in GPT-2, they would read it before its end. There a token of its own is added.
    """
    if tokenizer is None:
        return None, vocabulary
    tokenizer = copy.deepcopy(tokenizer)  # the data are encoded by the one that was given
    if vocabulary.pad == vocabulary.eos:
        tokenizer.add_special_tokens({"pad_token": PADDING})
        vocabulary = replace(vocabulary, size=len(tokenizer), pad=tokenizer.pad_token_id)
    else:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(vocabulary.pad)
    return tokenizer, vocabulary


def save(model: Any, tokenizer: Any, template: str, folder: Path) -> None:
    """Leave a reward model in the hub's format, adapters merged into its weights.

    template: how dialogues are written where the tokenizer does not say, so that others write them
    as in training; the tokenizer pads on the right.
    """
    merged = model.merge_and_unload() if hasattr(model, "peft_config") else model
    merged.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.chat_template = tokenizer.chat_template or template
        tokenizer.padding_side = "right"
        tokenizer.save_pretrained(folder)
