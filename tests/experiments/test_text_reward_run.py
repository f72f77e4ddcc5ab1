"""job=reward_model on texts as a user runs it: shared pairs, sweeps, kills, saved models."""

import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.cells import prepare
from sympo.models.texts.classifiers import HubReward
from sympo.models.texts.packed_rows import PackedRows
from sympo.models.texts.reward_models import RewardModel
from sympo.types import BadInput, Vocabulary
from tests.conftest import DATA
from tests.helpers.commands import cells, run, start
from tests.helpers.configs import composed
from tests.helpers.policies import history
from tests.helpers.suspects import check_suspects

# the default language, fewer and shorter
LANGUAGE = [
    "dataset=gold_language", "dataset.corpus_texts=400", "dataset.train_pairs=96",
    "dataset.validation_pairs=32", "dataset.test_pairs=32", "job.epochs=4", "job.batch_size=32",
]  # fmt: skip
SMALL = [
    *LANGUAGE, "job=reward_model", "job.evaluate_every=1", "job.reference.sft.epochs=1",
    "job.reference.model.heads=2", "job.reference.model.hidden_size=16",
    "job.reference.model.intermediate_size=24", "model.hidden_size=16",
    "model.intermediate_size=24", "model.heads=2", "draw=false",
]  # fmt: skip
METRICS = [
    "test/label_accuracy", "test/label_accuracy_se", "test/tie_rate", "validation/noisy_accuracy",
    "train/flipped_memorised", "train/loss", "train/flip_auroc", "train/margin_flipped",
    "validation/noise_estimate",
]  # fmt: skip
TEXT = [
    "job=reward_model", "dataset.train_pairs=24", "dataset.validation_pairs=8",
    "dataset.test_pairs=8", "dataset.max_length=96", "dataset.max_prompt_length=48",
    "job.batch_size=8", "job.evaluate_every=0.5", "threads=1",
]  # fmt: skip
HH = ["dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}"]


@pytest.fixture
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip("the real data is not beside this checkout (../shared/data)")
    return DATA


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    results = tmp_path_factory.mktemp("rewards")
    code, out, err = run(results, "-m", "loss=ramp,logistic,dr_dpo", "noise=0.4", *SMALL)
    assert code == 0, err
    return results, out


def test_cells_measure_what_the_contract_says(swept: tuple[Path, str]) -> None:
    results, out = swept
    assert len(cells(results)) == 3
    assert out.count("pairs: made in") == 1 and out.count("sft: made in") == 1
    path = cells(results)["ramp/noise=0.4/seed=0"]
    found = history(path)
    assert [metrics["epoch"] for metrics in found] == [0, 1, 2, 3, 4]
    for metrics in found:
        assert all(name in metrics for name in METRICS)
        assert 0 <= metrics["test/order_accuracy"] <= 1 and metrics["test/order_accuracy_se"] > 0
    assert {file.name for file in path.iterdir()} == {
        "config.yaml", "data.json", "metrics.jsonl", "summary.json", ".lock", "model",
        "suspects.csv",
    }  # fmt: skip
    check_suspects(path, set())
    assert "test/order_accuracy" in out
    # before training, cells of one seed are the same model on the same pairs, whatever the loss
    starts = [
        {name: one for name, one in history(other)[0].items() if "gradient" not in name}
        for other in cells(results).values()
    ]
    assert starts[0] == starts[1] == starts[2]


def test_the_saved_model_is_the_one_that_was_measured(swept: tuple[Path, str]) -> None:
    results, _ = swept
    path = cells(results)["ramp/noise=0.4/seed=0"]
    config, choices = composed(*SMALL, "loss=ramp", "noise=0.4", f"results_dir={results}")
    cell = prepare(config, choices)
    assert cell.folder.path == path
    shared = cell.job.shared(cell, SimpleNamespace(note=print, status=print))
    test = shared.preferences().test
    known = cell.dataset.vocabulary(None)
    model = HubReward(name_or_path=str(path / "model")).build(known, 0)
    scores = RewardModel(model, longest=64).score(PackedRows(test.chosen, test.rejected), 4096)
    gap = scores[:, 0] - scores[:, 1]
    found = history(path)[-1]
    assert found["test/label_accuracy"] == pytest.approx(np.mean(gap > 0))
    assert found["test/order_accuracy"] == pytest.approx(
        np.mean(np.sign(gap) == np.sign(test.pairs.gap))
    )


def test_policies_and_reward_models_share_pairs(tmp_path: Path) -> None:
    def stages(*overrides: str) -> tuple[str, str]:
        config, choices = composed(*overrides, f"results_dir={tmp_path}")
        cell = prepare(config, choices)
        shared = cell.job.shared(cell, SimpleNamespace(note=print, status=print))
        return shared._sft_key.digest(8), shared._preferences_key.digest(8)

    policy, reward = ["job=policy"], ["job=reward_model", "dataset=gold_language"]
    assert stages(*policy) == stages(*reward) == stages(*reward, "job.precision=bfloat16")
    assert stages(*reward) == stages(*reward, "model=tfidf")
    changed = stages(*policy, "job.sft.epochs=1")
    assert changed == stages(*reward, "job.reference.sft.epochs=1") != stages(*policy)


def with_stages_of(results: Path, other: Path) -> Path:
    """A folder for results in which the shared stages are there."""
    shutil.copytree(results / "stages", other / "stages")
    return other


def test_killed_cell_goes_on_from_its_checkpoint(tmp_path: Path, swept: tuple[Path, str]) -> None:
    results = with_stages_of(swept[0], tmp_path)
    cell = ["loss=ramp", "noise=0.4", *SMALL]
    process = start(results, *cell, "job.checkpoint_minutes=0")
    deadline = time.monotonic() + 120
    while not list(results.glob("runs/*/*/*/*/*/unfinished/checkpoint.pt")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (path,) = cells(results).values()
    assert not (path / "summary.json").exists()
    code, out, err = run(results, *cell)
    assert code == 0, err
    assert "resumes from epoch" in out
    undisturbed = cells(swept[0])["ramp/noise=0.4/seed=0"]
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (path / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.slow
def test_words_of_a_language_without_a_tokenizer(tmp_path: Path, swept: tuple[Path, str]) -> None:
    code, out, err = run(
        with_stages_of(swept[0], tmp_path),
        *(setting for setting in SMALL if not setting.startswith("model.")),
        "model=tfidf", "loss=sigmoid", "noise=0.2",
    )  # fmt: skip
    assert code == 0, err
    assert "made in" not in out  # the pairs are those of a network
    (path,) = cells(tmp_path).values()
    found = history(path)
    assert found[0]["test/tie_rate"] == 1 and found[-1]["test/tie_rate"] < 0.5
    assert not (path / "model").exists()


def test_real_dialogues(tmp_path: Path, data: Path) -> None:
    code, out, err = run(
        tmp_path, "-m", "experiment=hh_reward_accuracy", HH[1], *TEXT[1:], "loss=ramp", "noise=0.3",
        "seed=0", "job.epochs=1", "job.save_model=true",
        f"model.tokenizer_path={data / 'gpt2_tokenizer'}",
    )  # fmt: skip
    assert code == 0, err
    assert "2 cells: 2 run" in out
    for path in tmp_path.glob("runs/reward_model/hh/ramp/*/*"):
        found = history(path)
        assert [metrics["epoch"] for metrics in found] == pytest.approx([0, 2 / 3, 1])
        assert all(name in found[-1] for name in METRICS)
        assert "test/order_accuracy" not in found[-1]
        check_suspects(path, {"row"})
        rows = pd.read_csv(path / "suspects.csv")["row"]
        assert rows.str.fullmatch(rf"{data / 'hh-rlhf'}/.+ row \d+").all() and rows.is_unique
    assert len(list(tmp_path.glob("runs/*/*/*/*/*/model/tokenizer.json"))) == 1


@pytest.mark.slow
def test_a_pretrained_model_with_adapters(tmp_path: Path, data: Path) -> None:
    code, _, err = run(
        tmp_path, *HH, *TEXT, f"model.name_or_path={data / 'stories260K'}", "model.lora_rank=2",
        "loss=dr_dpo", "noise=0.3", "job.precision=bfloat16", "job.gradient_checkpointing=true",
        "job.save_model=true",
    )  # fmt: skip
    assert code == 0, err
    (path,) = cells(tmp_path).values()
    saved = HubReward(name_or_path=str(path / "model"))
    saved.check()
    # the added rows of a padding token where the tokenizer has none of its own are not needed here
    assert saved.sizes()[0] == 512
    trained = saved.build(Vocabulary(512, 1, 2, 0), 0).state_dict()
    new = HubReward(name_or_path=str(data / "stories260K")).build(Vocabulary(512, 1, 2, 0), 0)
    for name in ("score.weight", "model.layers.0.self_attn.q_proj.weight"):
        assert not torch.equal(trained[name], new.state_dict()[name])


GOLD = ["job=reward_model", "dataset=gold_language"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([*GOLD, "loss=ipo"], ["loss=ipo", "job=policy"]),
        ([*GOLD, "model=tiny_lm"], ["model=tiny_lm", "tiny_reward", "tfidf"]),
        ([*GOLD, "model=small_cnn"], ["model=small_cnn", "tiny_reward"]),
        (["job=policy", "model=tiny_reward"], ["model=tiny_reward", "tiny_lm"]),
        (["job=policy", "model=tfidf"], ["model=tfidf", "tiny_lm"]),
        (["job=reward_model", "model=tiny_reward"], ["model=tiny_reward", "small_cnn"]),
        (["job=reward_model", "model=tfidf"], ["model=tfidf", "small_cnn"]),
        ([*GOLD, "job.reference=null"], ["job.reference=null", "gold_language"]),
        ([*GOLD, "job.reference.sft.epochs=-1"], ["job.reference.sft.epochs=-1"]),
        ([*GOLD, "job.reference.sft.seed=-1"], ["job.reference.sft.seed=-1"]),
        ([*GOLD, "job.reference.model.heads=5"], ["job.reference.model.heads=5"]),
        ([*GOLD, "+job.reference.foo=1"], ["job.reference.foo=1", "no such key"]),
        ([*GOLD, "job.precision=float16"], ["job.precision=float16", "bfloat16"]),
        ([*GOLD, "job.epochs=0"], ["job.epochs=0"]),
        ([*GOLD, "job.save_model=yes"], ["job.save_model='yes'", "bool"]),
        ([*GOLD, "model.max_positions=8"], ["dataset.max_length=23", "8 positions"]),
        ([*GOLD, "model.tokenizer_path=/nowhere"], ["model.tokenizer_path=/nowhere"]),
        ([*GOLD, "model=hub_reward"], ["model.name_or_path", "not set"]),
        ([*GOLD, "model=tfidf", "model.min_df=0"], ["model.min_df=0"]),
        ([*GOLD, "dataset=digits",
          "job._target_=sympo.pipelines.text_reward_model.TextRewardModelJob"],
         ["job"]),
    ],
)  # fmt: skip
def test_bad_setting_is_one_sentence(overrides: list[str], words: list[str]) -> None:
    config, choices = composed(*overrides)
    with pytest.raises(BadInput) as error:
        prepare(config, choices)
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text


def test_the_model_follows_job_and_data_set() -> None:
    def chosen(*overrides: str) -> str:
        return composed(*overrides)[1].model

    for name in ("hh", "ultrafeedback", "preferences"):
        assert chosen("job=policy", f"dataset={name}") == "hub"
        assert chosen("job=reward_model", f"dataset={name}") == "hub_reward"
    assert chosen("job=policy") == "tiny_lm"
    assert chosen("job=reward_model", "dataset=gold_language") == "tiny_reward"
    assert chosen("job=reward_model", "dataset=hh", "model=tfidf") == "tfidf"
    assert chosen() == "small_cnn" and chosen("dataset=mnist") == "cnn"
