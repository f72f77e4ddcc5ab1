import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sympo.data.preferences import PreferenceSet
from sympo.data.text_pair import TextPair
from sympo.noise import AnnotatorDependent, InstanceDependent, SourceDependent
from sympo.types import BadInput
from tests.data.made_tokenizers import tokenizer

ASKED = {"role": "user", "content": "Hi"}
YES, NO = ({"role": "assistant", "content": text} for text in ("Yes", "No"))
PAIR = TextPair([ASKED], "Yes", "No")


def rows(numbers: range) -> list[dict[str, Any]]:
    return [{"prompt": f"prompt {i}", "chosen": f"yes {i}", "rejected": "no"} for i in numbers]


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pd.DataFrame(content).to_parquet(path)
    elif path.suffix == ".csv":
        pd.DataFrame(content).to_csv(path, index=False)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


def preferences(path: Path | None, **changes: Any) -> PreferenceSet:
    return PreferenceSet(**{"path": path and str(path), "validation_pairs": 5, **changes})


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "Hi", "chosen": "Yes", "rejected": "No"}, {}),
        ({"prompt": [ASKED], "chosen": "Yes", "rejected": "No"}, {}),
        ({"prompt": [ASKED], "chosen": [YES], "rejected": [NO]}, {}),
        ({"prompt": "Hi", "chosen": [ASKED, YES], "rejected": [ASKED, NO]}, {}),
        ({"chosen": [ASKED, YES], "rejected": [ASKED, NO]}, {"prompt": None}),
        (
            {"question": "Hi", "better": "Yes", "worse": "No"},
            {"prompt": "question", "chosen": "better", "rejected": "worse"},
        ),
        # ShareGPT, with answers as single messages
        (
            {
                "conversations": [{"from": "human", "value": "Hi"}],
                "chosen": [{"from": "gpt", "value": "Yes"}],
                "rejected": [{"from": "gpt", "value": "No"}],
            },
            {"prompt": "conversations"},
        ),
        ({"prompt": "Hi", "chosen": "Hi Yes", "rejected": "Hi No"}, {}),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_every_form_of_a_row(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], kind: str
) -> None:
    path = write(tmp_path / f"a.{kind}", [row])
    [pair] = preferences(path, **columns).usable("train").pairs
    assert replace(pair, notes=()) == PAIR


@pytest.mark.parametrize(
    ("row", "columns", "pair"),
    [
        (
            {"input": {"messages": [ASKED]}, "out": {"good": "Yes", "bad": "No"}},
            {"prompt": "input.messages", "chosen": "out.good", "rejected": "out.bad"},
            PAIR,
        ),
        (
            {"instruction": "Translate.", "input": "Oui", "chosen": "Yes", "rejected": "No"},
            {"prompt": "instruction", "input": "input"},
            replace(PAIR, prompt=[{"role": "user", "content": "Translate.\n\nOui"}]),
        ),
        (
            {"system": "Be brief.", "prompt": "Hi", "chosen": "Yes", "rejected": "No"},
            {"system": "system"},
            replace(PAIR, prompt=[{"role": "system", "content": "Be brief."}, ASKED]),
        ),
        (
            {"system": "Be brief.", "chosen": [ASKED, YES], "rejected": [ASKED, NO]},
            {"system": "system", "prompt": None},
            replace(PAIR, prompt=[{"role": "system", "content": "Be brief."}, ASKED]),
        ),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_columns_that_belong_together(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], pair: TextPair, kind: str
) -> None:
    path = write(tmp_path / f"a.{kind}", [row])
    assert preferences(path, **columns).usable("train").pairs == [pair]


def test_changes_are_counted(tmp_path: Path) -> None:
    table = rows(range(5)) + [
        {"prompt": f"Say {i}:", "chosen": f"Say {i}: yes", "rejected": f"Say {i}: no"}
        for i in range(3)
    ]
    table.append({"prompt": "Hi", "chosen": [{**YES, "thinking": "Hm"}], "rejected": [NO]})
    found = preferences(write(tmp_path / "a.jsonl", table)).usable("train")
    assert found.changed == {
        "rows whose answers began with the prompt, which was cut": 3,
        "rows with thoughts beside what a message says, which were left out": 1,
    }


def test_one_odd_row_does_not_refuse_the_rest(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    asked = [ASKED, call, {"role": "tool", "content": "12"}]
    odd: list[dict[str, Any]] = [
        {"prompt": asked, "chosen": "Yes", "rejected": "No"},
        {"prompt": [{**ASKED, "content": None}], "chosen": "Yes", "rejected": "No"},
        {"prompt": "Hi", "chosen": None, "rejected": "No"},
        {"prompt": None, "chosen": "Yes", "rejected": "No"},
        {"prompt": "Hi", "chosen": [call], "rejected": "No"},
        {"prompt": [{**ASKED, "content": [{"type": "image"}]}], "chosen": "Yes", "rejected": "No"},
    ]
    found = preferences(write(tmp_path / "a.jsonl", rows(range(9)) + odd)).usable("train")
    assert len(found) == 10
    assert found.pairs[9].prompt == [
        ASKED, {**call, "content": "", "tool_calls": [{"function": {"name": "f"}}]}, asked[2]
    ]  # fmt: skip
    assert found.dropped == {
        "dropped for a message without content": 1,
        "dropped for a null in chosen": 1,
        "dropped for a null in prompt": 1,
        "dropped for an answer that calls a tool": 1,
        "dropped for a message with a part that is not text": 1,
    }


def test_scores_say_how_close_a_pair_is(tmp_path: Path) -> None:
    scores = [(8, 7.5), (2, 9), (5, 5), (None, 3)]
    table = [
        {**row, "good": good, "bad": bad}
        for row, (good, bad) in zip(rows(range(4)), scores, strict=True)
    ]
    path = write(tmp_path / "a.jsonl", table)
    data = preferences(path, score_chosen="good", score_rejected="bad")
    found = data.usable("train")
    assert data.scored and [pair.gap for pair in found.pairs] == [0.5, 7]
    assert [pair.chosen for pair in found.pairs] == ["yes 0", "yes 1"]
    assert found.dropped == {
        "dropped for two equal scores": 1, "dropped for a missing score": 1,
    }  # fmt: skip
    assert found.changed == {
        "rows whose rejected answer has the higher score; they keep their label": 1
    }
    assert not preferences(path).scored
    assert {pair.gap for pair in preferences(path).usable("train").pairs} == {None}


def test_scores_reach_the_noise_and_are_no_truth(tmp_path: Path) -> None:
    table = [{**row, "good": i % 7 + 1, "bad": 0} for i, row in enumerate(rows(range(200)))]
    columns = {"score_chosen": "good", "score_rejected": "bad"}
    data = preferences(write(tmp_path / "a.jsonl", table), **columns)
    pairs = data.preferences(0, tokenizer("plain"), None).train.pairs
    assert pairs.gap is None and pairs.score_gap is not None
    rates = InstanceDependent().rates(0.3, pairs, 0)
    assert rates.mean() == pytest.approx(0.3)
    assert (np.diff(rates[np.argsort(pairs.score_gap)]) <= 0).all() and rates.min() < rates.max()
    # other scores are other data
    for row in table:
        row["good"] += 1
    other = preferences(write(tmp_path / "b.jsonl", table), **columns)
    assert other.fingerprint() != data.fingerprint()
    assert preferences(tmp_path / "a.jsonl").fingerprint() == (
        preferences(tmp_path / "b.jsonl").fingerprint()
    )


@pytest.mark.parametrize(
    ("row", "columns", "reason"),
    [
        ({"prompt": "Hi", "chosen": [ASKED], "rejected": [NO]}, {}, "no answer"),
        ({"prompt": "Hi", "chosen": [], "rejected": [NO]}, {}, "no answer"),
        ({"prompt": "Ho", "chosen": [ASKED, YES], "rejected": [NO]}, {}, "another prompt"),
        ({"chosen": [ASKED, YES], "rejected": [NO]}, {"prompt": None}, "two different prompts"),
    ],
)
def test_rows_without_a_preference_are_counted(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], reason: str
) -> None:
    [(dropped, count)] = (
        preferences(write(tmp_path / "a.jsonl", [row]), **columns).usable("train").dropped.items()
    )
    assert reason in dropped and count == 1


@pytest.mark.parametrize(
    ("row", "columns", "words"),
    [
        ({"prompt": "Hi", "chosen": "Yes"}, {}, "rejected is missing"),
        ({"prompt": 3, "chosen": "Yes", "rejected": "No"}, {}, "prompt=3 must be of type str or"),
        ({"chosen": "Yes", "rejected": "No"}, {}, "prompt is missing; the row has chosen, re"),
        ({"chosen": [YES], "rejected": [NO]}, {}, "prompt is missing.*prompt=null"),
        ({"chosen": "Yes", "rejected": "No"}, {"prompt": None}, "chosen='Yes' must be of type lis"),
        ({"prompt": "Hi", "chosen": [3], "rejected": "No"}, {}, "message 1 of chosen"),
    ],
)
def test_broken_row_is_named(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "a.jsonl", [row])
    with pytest.raises(BadInput, match=words) as error:
        preferences(path, **columns).check()
    assert str(error.value).startswith(f"{path} row 1: ")


def test_test_split_is_a_share_of_the_prompts(tmp_path: Path) -> None:
    table = rows(range(200)) + [{**row, "rejected": "nope"} for row in rows(range(200))]
    data = preferences(write(tmp_path / "a.jsonl", table), test_share=0.25)
    data.check()
    asked = {
        split: {pair.prompt[0]["content"] for pair in found.pairs}
        for split, found in data.splits.items()
    }
    assert not asked["train"] & asked["test"] and not asked["train"] & asked["validation"]
    assert 60 < len(data.splits["test"]) < 140
    turned = preferences(write(tmp_path / "b.jsonl", table[::-1]), test_share=0.25)
    assert [*turned.splits["test"].ids] == [*data.splits["test"].ids]
    assert turned.fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("train", "files", "own"),
    [
        ("train", ["train.jsonl", "test.jsonl"], "test"),
        (
            "train",
            ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"],
            "test",
        ),
        ("train_prefs", ["train_prefs.csv", "test_prefs.csv", "test_sft.csv"], "test_prefs"),
        ("train", ["train.json", "test_prefs.json"], "test_prefs"),
        ("train", ["train.jsonl", "validation.jsonl"], None),
        ("train", ["train.jsonl"], None),
    ],
)
def test_a_folder_has_its_own_test_split(
    tmp_path: Path, train: str, files: list[str], own: str | None
) -> None:
    (tmp_path / "data").mkdir()
    for place, name in enumerate(files):
        write(tmp_path / name, rows(range(100 * place, 100 * place + 40)))
    data = preferences(tmp_path, train=train)
    data.check()
    assert data.test_split == own
    assert len(data.released[0]) + len(data.released[1]) == (80 if own else 40)
    text = "\n".join(data.account().notes)
    assert (f"the own test split of {tmp_path}, {own}" in text) == (own is not None)
    assert ("the split validation is not read" in text) == ("validation.jsonl" in files)
    if own:
        assert preferences(tmp_path, train=train, test=own).fingerprint() == data.fingerprint()


def test_several_test_splits_are_a_question(tmp_path: Path) -> None:
    for name in ("train", "test_a", "test_b"):
        write(tmp_path / f"{name}.jsonl", rows(range(20)))
    with pytest.raises(BadInput, match=r"^test=null .*test_a, test_b"):
        preferences(tmp_path).check()


def test_named_test_split(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows(range(20)))
    write(tmp_path / "held.parquet", rows(range(20, 23)))
    for path, test in ((tmp_path, "held"), (tmp_path / "train.jsonl", "held.parquet")):
        data = preferences(path, test=test)
        data.check()
        assert (len(data.splits["train"]), len(data.splits["test"])) == (15, 3)


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        (None, {}, "either path"),
        ("a.jsonl", {"name": "someone/set"}, "either path"),
        ("nowhere", {}, "neither a file nor a folder"),
        ("a.jsonl", {"test": "b.jsonl"}, "b.jsonl is not a file"),
        ("a.txt", {}, "a.txt must end with .jsonl"),
        (".", {}, "holds no train split.*; it holds a$"),
        ("a" * 300, {}, "^path=.*too long"),
        ("a.jsonl", {"prompt": None, "input": "input"}, "^input=input"),
        ("a.jsonl", {"score_chosen": "good"}, "score_rejected=None"),
        ("a.jsonl", {"prompt": "a.b"}, "a.b is missing; the row has prompt, chosen, rejected"),
        ("a.jsonl", {"test_share": 1.0}, "^test_share=1.0"),
        (
            "a.jsonl",
            {"test_share": 0.001},
            "^test_share=0.001 takes none of the 20 usable rows",
        ),
    ],
)
def test_bad_settings(
    tmp_path: Path, path: str | None, changes: dict[str, Any], words: str
) -> None:
    for name in ("a.jsonl", "a.txt"):
        write(tmp_path / name, rows(range(20)))
    with pytest.raises(BadInput, match=words) as error:
        preferences(path and tmp_path / path, **changes).check()  # type: ignore[operator, arg-type]
    assert "\n" not in str(error.value)


def test_hub_set_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, data_dir: str | None, split: str) -> Any:
        assert (name, data_dir) == ("someone/set", None)
        return datasets.Dataset.from_list(rows(range(20) if split == "left" else range(20, 25)))

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = preferences(None, name="someone/set", train="left", test="right")
    data.check()
    assert len(data.splits["test"]) == 5


def test_hub_set_has_its_own_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    parts = {
        name: datasets.Dataset.from_list(rows(range(start, start + 20)))
        for name, start in (("train", 0), ("test", 50))
    }

    def load(name: str, data_dir: str | None, split: str | None) -> Any:
        return datasets.DatasetDict(parts) if split is None else parts[split]

    monkeypatch.setattr(datasets, "load_dataset", load)
    data = preferences(None, name="someone/set")
    data.check()
    assert (data.test_split, len(data.splits["test"])) == ("test", 20)
    del parts["test"]
    assert preferences(None, name="someone/set").test_split is None


CHATML = "<|im_start|>user\nnumber {}<|im_end|>\n<|im_start|>assistant\n"


def test_raw_prompts(tmp_path: Path) -> None:
    table = [
        {"prompt": CHATML.format(i), "chosen": f"yes {i}", "rejected": "no"} for i in range(30)
    ]
    path, speaker = write(tmp_path / "a.jsonl", table), tokenizer("chatml")
    wrapped = preferences(path, test_share=0.3)
    raw = preferences(path, test_share=0.3, raw_prompts=True)
    for data, count in ((wrapped, 1), (raw, 0)):
        data.check()
        made = data.preferences(0, speaker, None)
        assert made.account.splits["train"].rendered == count * len(made.train)
        text = speaker.decode(made.train.chosen.ids[0])
        assert text.count("<|im_start|>user") == 1 and text.endswith("<|im_end|>")
        assert text.count("<|im_end|>") == 2
    assert speaker.decode(made.train.prompts[0]) == made.train.texts[0]["prompt"][0]["content"]
    assert wrapped.fingerprint() == raw.fingerprint()


def test_raw_prompts_that_look_like_messages_are_taken_as_they_are(tmp_path: Path) -> None:
    listed = json.dumps([ASKED])
    table = [{"prompt": one, "chosen": "a", "rejected": "b"} for one in (listed, None)]
    rows = preferences(write(tmp_path / "a.jsonl", table), raw_prompts=True).usable("train")
    assert [pair.prompt[0]["content"] for pair in rows.pairs] == [listed]
    assert rows.dropped == {"dropped for a null in prompt": 1}


@pytest.mark.parametrize(
    ("prompt", "changes", "words"),
    [
        ([ASKED], {}, "row 1: prompt=.* must be of type str"),
        ("Hi", {"prompt": None}, "raw_prompts=true is not allowed with prompt=null"),
        ("Hi", {"system": "s"}, "raw_prompts=true is not allowed with system=s"),
    ],
)
def test_raw_prompts_are_strings(
    tmp_path: Path, prompt: Any, changes: dict[str, Any], words: str
) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": prompt, "chosen": "Yes", "rejected": "No"}])
    with pytest.raises(BadInput, match=words):
        preferences(path, raw_prompts=True, **changes).check()


def test_raw_answers_keep_the_space_after_their_prompt(tmp_path: Path) -> None:
    row = {"prompt": "\n\nHuman: Hi\n\nAssistant:"}
    row |= {side: f"{row['prompt']} {side}" for side in ("chosen", "rejected")}
    path = write(tmp_path / "a.jsonl", [row])
    for raw, wanted in ((True, " chosen"), (False, "chosen")):
        [pair] = preferences(path, raw_prompts=raw).usable("train").pairs
        assert pair.chosen == wanted


def test_what_was_changed_in_reading_is_in_the_account(tmp_path: Path) -> None:
    table = [
        {"prompt": f"Hi {i}:", "chosen": f"Hi {i}: yes", "rejected": f"Hi {i}: no"}
        for i in range(30)
    ]
    data = preferences(write(tmp_path / "a.jsonl", table))
    data.check()
    for split in data.account().splits.values():
        assert split.changed == {
            "rows whose answers began with the prompt, which was cut": split.pairs
        }


def test_columns_of_source_and_annotator(tmp_path: Path) -> None:
    content = [
        {**row, "topic": ["cooking", "law"][i % 2], "worker": i % 3}
        for i, row in enumerate(rows(range(60)))
    ]
    content[0]["topic"] = content[1]["topic"] = ""
    path = write(tmp_path / "a.jsonl", content)
    data = preferences(path, source="topic", annotator="worker")
    assert data.sourced and data.annotated
    kept = data.splits["train"]
    assert kept.dropped["dropped for a missing topic"] == 2
    encoded = data.preferences(0, tokenizer("plain"), None).train.pairs
    for pairs in (kept.preferences, encoded):
        numbers = [int(pair.chosen.split()[1]) for pair in kept.pairs]
        for model, parts in ((SourceDependent(), 2), (AnnotatorDependent(None), 3)):
            rates = model.rates(0.2, pairs, seed=0)
            assert rates.mean() == pytest.approx(0.2)
            assert len({(n % parts, rate) for n, rate in zip(numbers, rates, strict=True)}) == parts
    # the content of the columns is part of the data's identity, once they are named
    content[5]["worker"] = 7
    other = preferences(write(tmp_path / "b.jsonl", content), source="topic", annotator="worker")
    assert other.fingerprint() != data.fingerprint()
    assert (
        preferences(tmp_path / "a.jsonl").fingerprint()
        == preferences(tmp_path / "b.jsonl").fingerprint()
    )
