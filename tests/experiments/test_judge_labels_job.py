"""job=judge dataset=... as a user runs it, and judges that share training rows with policies."""

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
import yaml

from experiments.judge import JudgeJob
from experiments.run_data import shares_training, warn_of_leaks, warn_once
from sympo.data.gold_language import GoldLanguage
from sympo.data.hh import HH
from sympo.judges.gold import Gold
from sympo.judges.reward_model import RewardModelJudge
from sympo.numeric import sigmoid
from sympo.types import BadInput
from tests.conftest import DATA
from tests.helpers.commands import run
from tests.helpers.configs import composed
from tests.judges.made_model import model_folder

LANGUAGE = ["job=judge", "judge=gold", "dataset=gold_language"]
REAL = DATA / "hh-rlhf"


def test_gold_judge_agrees_as_often_as_bradley_terry_says(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, *LANGUAGE, "dataset.test_pairs=400", figures=True)
    assert code == 0, err
    frame = pd.read_csv(tmp_path / "latest" / "label_agreement-gold.csv")
    made = json.loads((tmp_path / "latest" / "label_agreement-gold.json").read_text())
    language = GoldLanguage(test_pairs=400)
    pairs = language.labelled("test")
    prompts = [language.ids(pair.prompt[0]["content"]) for pair in pairs]
    chosen, rejected = (
        language.gold_reward(prompts, [language.ids(text) for text in texts])
        for texts in ([p.chosen for p in pairs], [p.rejected for p in pairs])
    )
    # the judge is right if the label follows the reward, with probability sigmoid(|gap|)
    right = (chosen > rejected) + (chosen == rejected) / 2
    assert frame["agreement"][0] == pytest.approx(right.mean())
    expected = sigmoid(abs(chosen - rejected)).mean()
    assert frame["agreement_low"][0] < expected < frame["agreement_high"][0]
    assert made["rows"][0]["agreement"] == frame["agreement"][0] and len(made["items"]) == 400
    assert made["command"] == f"python run.py {' '.join([*LANGUAGE, 'dataset.test_pairs=400'])}"
    assert f"{100 * frame['agreement'][0]:.1f}%" in out and "80% power" in out
    assert {path.suffix for path in (tmp_path / "latest").iterdir()} == {
        ".csv", ".json", ".png", ".pdf",
    }  # fmt: skip


@pytest.mark.skipif(not REAL.is_dir(), reason="real HH rows are not beside this checkout")
def test_reward_model_judges_both_subsets_of_hh(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    command = [
        "job=judge", "judge=reward_model", f"judge.name_or_path={model}", "dataset=hh",
        f"dataset.path={REAL}", "dataset.test_pairs=60", "threads=1",
    ]  # fmt: skip
    code, _, err = run(tmp_path, *command)
    assert code == 0, err
    frame = pd.read_csv(tmp_path / "latest" / "label_agreement-reward_model.csv")
    assert frame["group"].tolist()[:3] == ["all", "harmless-base", "helpful-base"]
    assert frame["pairs"][0] == 60 == frame["pairs"][1] + frame["pairs"][2]
    # the reward of a response does not depend on its place
    valid = frame[frame["invalid_rate"] < 1]
    assert (valid["first_shown_wins"] == 0.5).all()
    made = json.loads((tmp_path / "latest" / "label_agreement-reward_model.json").read_text())
    assert "path" not in made["dataset"] and str(REAL) not in made["command"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["runs=results"], "runs=results is not allowed with dataset=gold_language"),
        (["judge.against=chosen"], "judge.against=chosen is not allowed"),
        (["judge.protocol=authors"], "judge.protocol=authors shows the chosen response in one"),
        (["dataset=[hh,ultrafeedback]"], "a group takes the name of one of its options"),
        (["split=all"], "split='all' is not allowed: it must be train or validation or test"),
        (["dataset.topics=99"], "dataset.topics=99 must be at most"),
        (["dataset=digits"], "dataset=digits holds images, which no judge reads"),
    ],
)
def test_bad_input_starts_nothing(tmp_path: Path, overrides: list[str], words: str) -> None:
    overrides = [*LANGUAGE, *overrides]
    with pytest.raises(BadInput) as error:
        JudgeJob.start(*composed(*overrides, f"results_dir={tmp_path}"), overrides)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.rglob("label_agreement*"))


def test_split_needs_a_data_set(tmp_path: Path) -> None:
    overrides = ["job=judge", "judge=gold", "split=train"]
    with pytest.raises(BadInput, match="split=train is not allowed without dataset"):
        JudgeJob.start(*composed(*overrides, f"results_dir={tmp_path}"), overrides)


def test_gold_cannot_judge_people(tmp_path: Path) -> None:
    overrides = ["job=judge", "judge=gold", "dataset=hh", f"dataset.path={tmp_path}"]
    row = {side: f"\n\nHuman: Hi\n\nAssistant: {side}" for side in ("chosen", "rejected")}
    for split in ("train", "test"):
        folder = tmp_path / "helpful-base"
        folder.mkdir(exist_ok=True)
        rows = [json.dumps(row).replace("Hi", f"{split} {number}") for number in range(9)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    overrides.append("dataset.validation_pairs=2")
    with pytest.raises(BadInput, match="judge=gold needs a data set whose true reward is known"):
        JudgeJob.start(*composed(*overrides, f"results_dir={tmp_path}"), overrides)


def trained(root: Path, job: str, **settings: object) -> Path:
    """A run folder as far as its config and summary go."""
    folder = root / "runs" / job / "hh" / "logistic" / "noise=0" / "seed=0-1"
    folder.mkdir(parents=True)
    dataset = {"_target_": "sympo.data.hh.HH", "path": "gone", **settings}
    (folder / "config.yaml").write_text(yaml.safe_dump({"dataset": dataset}))
    (folder / "summary.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("judge", "policy", "shared"),
    [
        ({"part": "judge"}, {"part": "policies"}, False),
        ({"part": "judge"}, {"part": "judge"}, True),
        ({"part": "judge"}, {}, True),  # all of them
        ({}, {"part": "policies"}, True),
        ({"subsets": ["harmless-base"]}, {"subsets": ["helpful-base"]}, False),
        ({"subsets": ["harmless-base"]}, {}, True),
    ],
)
def test_shared_training_rows_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture,
    judge: dict[str, object], policy: dict[str, object], shared: bool,
) -> None:  # fmt: skip
    run_folder = trained(tmp_path, "reward_model", **judge)
    one = RewardModelJudge(name_or_path=str(run_folder / "model"))
    folders = [trained(tmp_path, "policy", **policy)] * 2
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        warn_of_leaks("reward_model", one, folders)
        warn_of_leaks("reward_model", one, folders)
    assert len(caplog.messages) == shared
    assert all("dataset.part=judge" in text and "1 more" in text for text in caplog.messages)


def test_a_judge_of_unknown_training_shares_nothing_that_is_known(tmp_path: Path) -> None:
    assert not shares_training(Gold(), GoldLanguage())
    (tmp_path / "model").mkdir()
    assert not shares_training(RewardModelJudge(name_or_path=str(tmp_path / "model")), HH())
    (tmp_path / "summary.json").write_text("{}")
    assert not shares_training(RewardModelJudge(name_or_path=str(tmp_path / "model")), HH())


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="real HH rows are not beside this checkout")
def test_a_judge_of_its_own_part_judges_policies_of_theirs(tmp_path: Path) -> None:
    """The commands of docs/judging.md, small: train the judge, check it, judge policies."""
    common = [
        "dataset=hh", f"dataset.path={REAL}", "dataset.subsets=[harmless-base]",
        "dataset.train_pairs=24", "dataset.validation_pairs=8", "dataset.test_pairs=8",
        "dataset.max_length=96", "dataset.max_prompt_length=48", "threads=1",
    ]  # fmt: skip
    stories = f"model.name_or_path={DATA / 'stories260K'}"
    training = [stories, "job.batch_size=8", "job.evaluate_every=1", "job.epochs=1", "noise=0"]
    code, _, err = run(
        tmp_path, "job=reward_model", "dataset.part=judge", *common, *training, "loss=logistic",
        "job.save_model=true",
    )  # fmt: skip
    assert code == 0, err
    (model,) = tmp_path.glob("runs/reward_model/*/*/*/*/model")
    judge = ["judge=reward_model", f"judge.name_or_path={model}"]
    code, out, err = run(tmp_path, "job=judge", *judge, *common)
    assert code == 0 and "80% power" in out, err
    assert "may have been trained" not in err
    policy = [
        "job=policy", *common, *training, "loss=ramp", "job.sampling.prompts=6",
        "job.sampling.max_new_tokens=12", "job.sft.batch_size=8",
    ]  # fmt: skip
    code, _, err = run(tmp_path, *policy, "dataset.part=policies", *judge)
    assert code == 0 and "may have been trained" not in err, err
    code, _, err = run(tmp_path, *policy, "dataset.part=all", *judge)
    assert code == 0 and err.count("may have been trained") == 1, err
    code, _, err = run(
        tmp_path, "job=judge", *judge, "judge.against=reference", f"runs={tmp_path / 'runs'}"
    )
    assert code == 0 and err.count("may have been trained") == 1, err
    cells = pd.read_csv(tmp_path / "latest" / "cells.csv")
    names = [name for name in cells if "reward_model" in name and name.endswith("/win_rate")]
    assert len(names) == 4 and cells[names].notna().all().all()  # two opponents, two epochs
    assert any("length_adjusted_win_rate" in name for name in cells)
