"""Language models with a reward head: what is trained, and what other tools read of it."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sympo.data.chat_format import PLAIN, ChatFormat
from sympo.data.pair_encoding import encode
from sympo.data.text_pair import TextPair
from sympo.models.texts.classifiers import PADDING, HubReward, TinyReward, save, with_padding
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.reward_models import RewardModel
from sympo.pipelines.text_reward_model import END
from sympo.types import TokenPairs, Vocabulary
from tests.conftest import DATA
from tests.models.texts import tiny_bert

LENGTHS = {"max_length": 96, "max_prompt_length": 48}
PAIRS = [
    TextPair([{"role": "user", "content": "Hello there"}], "Good day to you", "Go away"),
    TextPair([{"role": "user", "content": "How old is it"}], "Ten", "It is ten years old today"),
]
SIZES = {"hidden_size": 16, "intermediate_size": 24, "layers": 2, "heads": 2, "max_positions": 128}


@pytest.fixture
def gpt2() -> str:
    return _real("gpt2_tokenizer")


@pytest.fixture
def stories() -> str:
    return _real("stories260K")


def _real(name: str) -> str:
    if not (DATA / name).is_dir():
        pytest.skip(f"{name} is not beside this checkout (../shared/data)")
    return str(DATA / name)


@pytest.fixture
def bert(tmp_path: Path) -> str:
    return str(tiny_bert.write(tmp_path / "bert"))


def vocabulary(tokenizer: Any) -> Vocabulary:
    """As data sets of texts have it."""
    fillers = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
    pad = next(token for token in fillers if token is not None)
    eos = tokenizer.eos_token_id
    return Vocabulary(len(tokenizer), tokenizer.bos_token_id, eos, pad)


def built(model: Any, seed: int = 0) -> tuple[Any, Any, Vocabulary]:
    tokenizer, known = with_padding(model.tokenizer(), vocabulary(model.tokenizer()))
    return model.adapt(model.build(known, seed), seed), tokenizer, known


def encoded(model: Any) -> TokenPairs:
    ids = np.arange(len(PAIRS), dtype=np.uint64)
    return encode(PAIRS, ids, ChatFormat(model.tokenizer()), *LENGTHS.values()).pairs


def shaken(model: Any) -> Any:
    """Weights as training may leave them, adapters and head included."""
    for weight in model.parameters():
        if weight.requires_grad and weight.dim() > 1:
            nn.init.normal_(weight, std=0.1)
    return model


def read_by_others(folder: Path) -> list[list[float]]:
    """Rewards of both answers of PAIRS, in one padded batch, by `transformers` alone."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dialogues = [
        [*pair.prompt, {"role": "assistant", "content": answer}]
        for pair in PAIRS for answer in (pair.chosen, pair.rejected)
    ]  # fmt: skip
    batch = tokenizer.apply_chat_template(
        dialogues, padding=True, return_dict=True, return_tensors="pt"
    )
    assert (batch["attention_mask"] == 0).any()
    with torch.no_grad():
        return model(**batch).logits.view(len(PAIRS), 2).tolist()


def make(kind: str, gpt2: str, stories: str, bert: str) -> Any:
    return {
        "tiny": TinyReward(**SIZES, tokenizer_path=gpt2),
        "tiny with adapters": TinyReward(**SIZES, tokenizer_path=gpt2, lora_rank=2),
        "hub": HubReward(name_or_path=stories),
        "hub with adapters": HubReward(name_or_path=stories, lora_rank=2),
        "encoder": HubReward(name_or_path=bert),
        "encoder with adapters": HubReward(name_or_path=bert, lora_rank=2),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["tiny", "tiny with adapters", "hub", "hub with adapters", "encoder", "encoder with adapters"],
)
def test_others_read_what_was_trained(
    tmp_path: Path, kind: str, gpt2: str, stories: str, bert: str
) -> None:
    torch.manual_seed(0)
    settings = make(kind, gpt2, stories, bert)
    settings.check()
    model, tokenizer, known = built(settings)
    pairs, rewards = encoded(settings), RewardModel(shaken(model), longest=96)
    assert rewards.exact == ("encoder" not in kind)
    # no text ends with padding, or it would be read before its end
    ends = {int(ids[-1]) for side in (pairs.chosen, pairs.rejected) for ids in side.ids}
    assert ends == {known.eos} and known.pad != known.eos
    expected = rewards.score(PackedRows(pairs.chosen, pairs.rejected), 1000)
    assert np.ptp(expected) > 1e-3
    rewards.use_default_attention()
    save(rewards.model, tokenizer, PLAIN + END, tmp_path / "saved")
    np.testing.assert_allclose(read_by_others(tmp_path / "saved"), expected, rtol=0, atol=1e-4)
    again = HubReward(name_or_path=str(tmp_path / "saved"))
    again.check()
    loaded = RewardModel(again.build(known, 1), longest=96)
    found = loaded.score(PackedRows(pairs.chosen, pairs.rejected), 1000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_padding_of_gpt2_is_a_token_of_its_own(gpt2: str) -> None:
    settings = TinyReward(**SIZES, tokenizer_path=gpt2)
    own = settings.tokenizer()
    model, tokenizer, known = built(settings)
    assert known.pad == 50257 == tokenizer.pad_token_id and tokenizer.pad_token == PADDING
    assert known.size == model.get_input_embeddings().num_embeddings == 50258
    assert model.config.pad_token_id == 50257
    assert len(own) == 50257 and settings.tokenizer() is own  # the data's is as it was


def test_a_language_model_gets_a_new_head_and_rows(stories: str, gpt2: str) -> None:
    model = HubReward(name_or_path=stories)
    one, two, other = (
        model.build(Vocabulary(size=520, bos=1, eos=2, pad=519), seed).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["score.weight"].shape == (1, 64) and one["model.embed_tokens.weight"].shape[0] == 520
    assert not torch.equal(one["score.weight"], other["score.weight"])
    norm = "model.norm.weight"
    assert torch.equal(one[norm], other[norm])


def test_weights_of_a_tiny_one_depend_on_the_seed_alone() -> None:
    known = Vocabulary(size=10, bos=None, eos=8, pad=9)
    a, b, c = (TinyReward(**SIZES).build(known, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["score.weight"], c["score.weight"])


def test_adapters_train_the_head_whole(stories: str) -> None:
    model, _, _ = built(HubReward(name_or_path=stories, lora_rank=2))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or "score.modules_to_save" in name for name in trained)
    assert any("score" in name for name in trained)


def test_a_head_of_two_outputs_gives_way_to_a_new_one(tmp_path: Path, stories: str) -> None:
    folder = Path(shutil.copytree(stories, tmp_path / "two", copy_function=shutil.copy))
    two = AutoModelForSequenceClassification.from_pretrained(stories, num_labels=2)
    two.save_pretrained(folder)
    built = HubReward(name_or_path=str(folder)).build(Vocabulary(512, 1, 2, 0), 0)
    assert built.score.weight.shape[0] == 1
