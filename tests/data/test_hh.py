import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sympo.data.hh import HH, MIXED, dialogue
from sympo.data.message_parsing import Unusable
from sympo.data.parts import SHARES, conversations
from sympo.noise import SourceDependent
from sympo.types import BadInput
from tests.conftest import DATA
from tests.data.made_tokenizers import tokenizer

ASKED = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Sum?\n\nAssistant:"


def hh(path: Path | None, **changes: Any) -> HH:
    settings = {"path": path and str(path), "validation_pairs": 2, **changes}
    return HH(**settings)


def write(folder: Path, subset: str, split: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / subset / f"{split}.jsonl.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subsets of six training and three test rows."""
    for subset in ("helpful-base", "harmless-base"):
        for split, count in (("train", 6), ("test", 3)):
            rows = []
            for i in range(count):
                prompt = f"\n\nHuman: {subset} {split} {i}\n\nAssistant: Hm" + ASKED
                rows.append({"chosen": f"{prompt} Yes", "rejected": f"{prompt} No"})
            write(tmp_path, subset, split, rows)
    return tmp_path


@pytest.fixture(scope="module")
def real() -> Path:
    if not (DATA / "hh-rlhf").is_dir():
        pytest.skip("real HH rows are not beside this checkout (../shared/data/hh-rlhf)")
    return DATA / "hh-rlhf"


def test_dialogue() -> None:
    assert dialogue(ASKED + "  two\n\nlines ") == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Sum?"},
        {"role": "assistant", "content": " two\n\nlines "},
    ]
    for text in ("", "Hi", "Human: Hi\n\nAssistant: Yes"):
        with pytest.raises(Unusable, match="no dialogue"):
            dialogue(text)


def test_subsets(folder: Path) -> None:
    assert len(hh(folder).usable("train")) == 12
    one = hh(folder, subsets=["harmless-base"]).usable("test")
    assert len(one) == 3 and "harmless-base" in one.pairs[0].prompt[0]["content"]
    both = hh(folder, subsets=["harmless-base", "helpful-base"])
    assert both.fingerprint() == hh(folder).fingerprint()
    assert hash(both) == hash(hh(folder)), "cells keep data sets by their hash"


def test_unusable_rows_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "helpful-base", "train", [
        {"chosen": ASKED + " Yes", "rejected": ASKED + " No"},
        {"chosen": ASKED + " Yes", "rejected": ASKED.replace("Hello", "Hey") + " No"},
        {"chosen": ASKED + " Yes", "rejected": ASKED},
        {"chosen": ASKED + " Yes", "rejected": ASKED + " \n"},
        {"chosen": ASKED + " Yes", "rejected": ASKED + " No\n\nHuman: So?"},
        {"chosen": "Yes", "rejected": "No"},
    ])  # fmt: skip
    rows = hh(tmp_path).usable("train")
    assert len(rows) == 1 and rows.read == 6
    assert rows.dropped == {
        "dropped for two different prompts": 1,
        "dropped for an empty answer": 2,
        "dropped for no answer of the assistant at the end": 1,
        "dropped for text that is no dialogue": 1,
    }


def test_broken_row_is_named(folder: Path) -> None:
    good = {"chosen": ASKED + " Yes", "rejected": ASKED + " No"}
    for bad, words in (({"chosen": "a"}, "rejected is missing"),
                       ({**good, "chosen": None}, "chosen=None must be of type str")):  # fmt: skip
        path = write(folder, "helpful-base", "test", [good, bad])
        with pytest.raises(BadInput, match=words) as error:
            hh(folder).check()
        assert str(error.value).startswith(f"{path} row 2: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"subsets": ["helpful"]},
            r"^subsets=.*'helpful', which is not one of helpful-base, helpful-online",
        ),
        ({"subsets": []}, r"^subsets=\[\]"),
        ({"subsets": ["helpful-online"]}, r"helpful-online holds no train split"),
    ],
)
def test_bad_subsets(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        hh(folder, **changes).check()


def test_missing_files(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"^path=.*nowhere.* is neither a file nor a folder"):
        hh(folder / "nowhere").check()
    with pytest.raises(BadInput, match="holds none of the folders helpful-base"):
        hh(folder / "helpful-base").check()
    (folder / "helpful-base" / "test.jsonl.gz").unlink()
    with pytest.raises(BadInput, match="helpful-base holds no test split"):
        hh(folder).check()


def test_hub_gives_all_four_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load(name: str, data_dir: str, split: str) -> Any:
        asked.append((name, data_dir, split))
        row = {"chosen": f"\n\nHuman: {data_dir} {split}\n\nAssistant: Yes", "rejected": "No"}
        return datasets.Dataset.from_list([{**row, "rejected": row["chosen"] + "!"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    hh(None).check()
    assert len(asked) == 8 and asked[0] == ("Anthropic/hh-rlhf", "helpful-base", "train")


def test_real_rows(real: Path) -> None:
    data = hh(real, validation_pairs=500)
    data.check()
    train, test = data.released
    assert (train.read, test.read) == (2246 + 1634, 2352 + 2312)
    assert train.dropped == {
        "dropped for two different prompts": 2,
        "dropped for no answer of the assistant at the end": 1,
    }
    assert test.dropped == {
        "dropped for two different prompts": 14,
        "dropped for an empty answer": 8,
    }
    # no training row shares its prompt with a test row there
    assert len(data.splits["train"]) + 500 <= len(train)
    assert len(data.splits["train"]) + 500 >= len(train) - 20
    assert max(len(pair.prompt) for pair in train.pairs) > 5


@pytest.mark.parametrize("kind", ["stories260K", "gpt2", "gpt2 with chatml", "strict"])
def test_real_rows_as_tokens(real: Path, kind: str) -> None:
    data, speaker = hh(real, train_pairs=300, test_pairs=100, validation_pairs=50), tokenizer(kind)
    split = data.preferences(0, speaker, None).train
    eos = data.vocabulary(speaker).eos
    for side, name in ((split.chosen, "chosen"), (split.rejected, "rejected")):
        for ids, start, prompt, text in zip(
            side.ids, side.start, split.prompts, split.texts, strict=True
        ):
            assert len(ids) <= 512 and len(prompt) <= 256 and ids[-1] == eos
            assert start == len(prompt) and (ids[:start] == prompt).all()
            if len(ids) < 512:
                answer = text[name].strip() if kind == "strict" else text[name]
                assert data.text(ids[start:], speaker) == answer


def test_each_subset_has_its_criterion(folder: Path) -> None:
    pairs = hh(folder).usable("test").pairs
    assert {(pair.prompt[0]["content"].split()[0], pair.criterion) for pair in pairs} == {
        ("helpful-base", "helpful"), ("harmless-base", "harmless")
    }  # fmt: skip
    # judges read it from the samples
    texts = hh(folder).preferences(0, tokenizer("plain"), None).test.texts
    assert {text["criterion"] for text in texts} == {"helpful", "harmless"}


@pytest.mark.parametrize(
    ("subset", "sizes"), [("helpful-base", (1368, 643, 231)), ("harmless-base", (976, 469, 176))]
)
def test_no_conversation_of_the_real_rows_is_in_two_parts(
    real: Path, subset: str, sizes: tuple[int, ...]
) -> None:
    parts = {part: hh(real, subsets=[subset], part=part) for part in SHARES}
    rows = {part: data._free for part, data in parts.items()}
    assert tuple(map(len, rows.values())) == sizes
    openings = [
        {pair.prompt[0]["content"] for pair in found.pairs}
        for found in (*rows.values(), parts["judge"].released[1])
    ]
    assert len(set().union(*openings)) == sum(map(len, openings)), "one opening, one part"
    keys = [set(conversations(found.pairs)) for found in rows.values()]
    assert len(set().union(*keys)) == sum(map(len, keys))
    # every row is in one part, or left out for its reason
    train = parts["judge"].account().splits["train"]
    assert train.rows == train.pairs + sum(train.left_out.values())
    assert train.left_out["of dataset.part=policies"] == sizes[0]
    validation = parts["judge"].splits["validation"].pairs
    assert {id(pair) for pair in validation} <= {
        id(pair) for pair in parts["judge"].released[0].pairs
    }
    assert len(validation) == 2


def test_rows_of_the_copy_that_mixes_subsets_are_counted(real: Path) -> None:
    data = hh(real, subsets=["helpful-base"])
    # 1,810 of 2,246 rows, of which one is unusable
    assert data.usable("train").changed == {MIXED: 1809}
    assert not hh(real, subsets=["harmless-base"]).usable("train").changed
    assert not data.usable("test").changed
    counted = data.account().splits
    assert counted["train"].changed[MIXED] + counted["validation"].changed[MIXED] == 1809


def test_the_source_of_a_pair_is_its_subset(folder: Path) -> None:
    data = hh(folder)
    for pairs in (
        data.preferences(0, tokenizer("plain"), None).train.pairs,
        data.splits["train"].preferences,
    ):
        rates = SourceDependent().rates(0.3, pairs, seed=0)
        by_id = dict(zip(pairs.ids.tolist(), rates.tolist(), strict=True))
        of_subset = {one.subset: by_id[one.id] for one in data.labelled("train") if one.id in by_id}
        assert len(set(of_subset.values())) == 2
        assert all(by_id[one.id] == of_subset[one.subset] for one in data.labelled("train"))
        assert pairs.annotator is None
    one = hh(folder, subsets=["helpful-base"])
    with pytest.raises(BadInput, match="needs at least two sources"):
        SourceDependent().rates(0.3, one.splits["train"].preferences, seed=0)


def test_labelled_pairs_name_their_subset(folder: Path) -> None:
    data = hh(folder, test_pairs=None)
    found = data.labelled("test")
    assert Counter(pair.subset for pair in found) == {"helpful-base": 3, "harmless-base": 3}
    assert {pair.subset: pair.criterion for pair in found} == {
        "helpful-base": "helpful", "harmless-base": "harmless",
    }  # fmt: skip
    assert [pair.id for pair in found] == data.splits["test"].ids.tolist()
    assert {(pair.chosen, pair.rejected) for pair in found} == {("Yes", "No")}
