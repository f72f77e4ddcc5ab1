"""Reward models as judges: any sequence classifier with one output, also one of our own jobs."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from sympo.data.chat_format import PLAIN
from sympo.data.in_memory import TextPairs
from sympo.data.preferences import PreferenceSet
from sympo.judges.reward_model import RewardModelJudge
from sympo.models.texts.classifiers import HubReward, save, with_padding
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.reward_models import RewardModel
from sympo.types import BadInput, Comparison, Verdict
from tests.data.made_tokenizers import tokenizer
from tests.judges.made_model import model_folder
from tests.models.texts import tiny_bert

TEXTS = PreferenceSet(path="anywhere", validation_pairs=1)
ASKED = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi, what is it?"},
    {"role": "user", "content": "name a colour"},
]


def judged(judge: RewardModelJudge, comparisons: list[Comparison]) -> list[Verdict]:
    judge.check()
    found: dict[int, Verdict] = {}
    judge.of(TEXTS).compare(comparisons, found.__setitem__)
    return [found[number] for number in range(len(comparisons))]


@pytest.mark.parametrize("kind", ["plain", "chatml"])
def test_verdict_is_the_order_of_the_models_own_scores(tmp_path: Path, kind: str) -> None:
    folder = model_folder(tmp_path, kind)
    answers = ["red", "blue, as the sky is", "I would rather not say", ""]
    comparisons = [Comparison(ASKED, *both) for both in permutations(answers, 2)]
    verdicts = judged(RewardModelJudge(name_or_path=str(folder)), comparisons)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    made = AutoTokenizer.from_pretrained(folder)
    made.chat_template = made.chat_template or PLAIN
    rewards = {}
    for answer in answers:
        turns = [*ASKED, {"role": "assistant", "content": answer}]
        text = made.apply_chat_template(turns, tokenize=False).removesuffix("\n")
        ids = made(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        if ids[0, -1] != made.eos_token_id:
            ids = torch.cat([ids, torch.tensor([[made.eos_token_id]])], 1)
        rewards[answer] = model(input_ids=ids).logits.item()
    assert len(set(rewards.values())) == 4
    for comparison, verdict in zip(comparisons, verdicts, strict=True):
        one, other = rewards[comparison.first], rewards[comparison.second]
        assert verdict.choice == float(one > other)
        told = [float(word) for word in verdict.raw.split(" against ")]
        assert told == pytest.approx([one, other], abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_trained_model_judges_as_it_scored_its_test_pairs(tmp_path: Path, family: str) -> None:
    source = tmp_path / "source"
    if family == "llama":
        model_folder(source)
    else:
        tiny_bert.write(source)
    rows = [
        {"prompt": f"Say {i}.", "chosen": "one " * (i % 4 + 1) + str(i), "rejected": f"two {i} a"}
        for i in range(24)
    ]
    sizes = {"validation_pairs": 4, "test_pairs": 12, "max_length": 64, "max_prompt_length": 32}
    data = TextPairs(rows, **sizes)
    settings = HubReward(name_or_path=str(source))
    made = settings.tokenizer()
    padded, vocabulary = with_padding(made, data.vocabulary(made))
    model = settings.build(vocabulary, 0)
    for weight in model.parameters():
        if weight.dim() > 1:  # scales of layer norms stay, or rewards hardly differ
            torch.nn.init.normal_(weight, std=0.3)
    test = data.preferences(0, made, None).test
    scores = RewardModel(model).score(PackedRows(test.chosen, test.rejected), 1000)
    save(model, padded, PLAIN, tmp_path / "run" / "model")
    judge = RewardModelJudge(name_or_path=str(tmp_path / "run" / "model"))
    judge.check()
    pairs = {pair.id: pair for pair in data.labelled("test")}
    found: dict[int, Verdict] = {}
    asked = [pairs[int(number)] for number in test.pairs.ids]
    comparisons = [Comparison(one.prompt, one.chosen, one.rejected, "helpful") for one in asked]
    judge.of(data).compare(comparisons, found.__setitem__)
    for number, (chosen, rejected) in enumerate(scores):
        told = [float(word) for word in found[number].raw.split(" against ")]
        assert told == pytest.approx([chosen, rejected], abs=1e-4)
    assert len(found) == len(scores) > 4 and abs(scores[:, 0] - scores[:, 1]).min() > 2e-4


def test_key_is_the_models_content_not_its_place(tmp_path: Path) -> None:
    one, same, other = (
        RewardModelJudge(name_or_path=str(folder)).key()
        for folder in (
            model_folder(tmp_path / "one"),
            model_folder(tmp_path / "same"),
            model_folder(tmp_path / "other", hidden_size=32),
        )
    )
    assert one == same != other
    assert str(tmp_path) not in str(one)


def test_model_is_loaded_once_for_all_runs(tmp_path: Path) -> None:
    judge = RewardModelJudge(name_or_path=str(model_folder(tmp_path)))
    bound = [judge.of(dataset) for dataset in (TEXTS, replace(TEXTS, path="elsewhere"))]
    assert bound[0]._scorer is bound[1]._scorer


def test_long_dialogues_lose_their_oldest_turns_and_never_an_answer(tmp_path: Path) -> None:
    judge = RewardModelJudge(name_or_path=str(model_folder(tmp_path)), max_length=120)
    turns = [{"role": role, "content": "x" * 60} for role in ("user", "assistant")] * 3
    (verdict,) = judged(judge, [Comparison([*turns, ASKED[2]], "red", "blue" * 20)])
    assert verdict.choice is not None
    made = TEXTS.answered([[*turns, ASKED[2]]], ["red"], ["blue" * 20], tokenizer("plain"), 120)
    text = tokenizer("plain").decode(made.rejected.ids[0])
    assert text == "\n\nHuman: name a colour\n\nAssistant: " + "blue" * 20 + "<eos>"
    assert len(made.rejected.ids[0]) <= 120


def test_dialogue_that_the_template_refuses_is_invalid(tmp_path: Path) -> None:
    judge = RewardModelJudge(name_or_path=str(model_folder(tmp_path, "strict")))
    refused = Comparison([{"role": "system", "content": "be nice"}, *ASKED], "red", "blue")
    verdicts = judged(judge, [refused, Comparison(ASKED, "red", "blue")])
    assert verdicts[0].choice is None and "refuses" in verdicts[0].raw
    assert verdicts[1].choice is not None
    assert judged(judge, [refused])[0].choice is None


def test_untrained_head_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, auto=AutoModelForCausalLM)
    judge = RewardModelJudge(name_or_path=str(folder))
    with pytest.raises(BadInput, match="LlamaForCausalLM, which has no reward head"):
        judge.check()
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlamaForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match=r"lacks score\.weight"):
        judged(judge, [Comparison(ASKED, "red", "blue")])


def test_run_folder_is_told_from_a_model(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(BadInput, match=r"run folder: run it with job.save_model=true"):
        RewardModelJudge(name_or_path=str(tmp_path)).check()
    model_folder(tmp_path / "model")
    with pytest.raises(BadInput, match="run folder: give its folder model"):
        RewardModelJudge(name_or_path=str(tmp_path)).check()


def test_verdict_does_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    judge = RewardModelJudge(name_or_path=str(model_folder(tmp_path)), max_length=120)
    dialogue = [{"role": "user", "content": "x" * 90}]
    alone = judged(judge, [Comparison(dialogue, "red", "blue")])
    long = Comparison(ASKED, "y" * 110, "z" * 100)
    assert judged(judge, [Comparison(dialogue, "red", "blue"), long])[0].raw == alone[0].raw


def test_reward_model_that_cannot_read_the_texts_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(BadInput, match="takes a tokenizer"):
        RewardModelJudge(name_or_path=str(folder)).of(TEXTS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name_or_path": None}, "name_or_path=None is not set"),
        ({"name_or_path": "/nowhere"}, "name_or_path=/nowhere"),
        ({"precision": "float8"}, "precision=float8"),
        ({"max_length": 0}, "max_length=0"),
        ({"tokens_per_pass": 0}, "tokens_per_pass=0"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        RewardModelJudge(**settings).check()


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, num_labels=2)
    with pytest.raises(BadInput, match="2 outputs"):
        RewardModelJudge(name_or_path=str(folder)).check()
