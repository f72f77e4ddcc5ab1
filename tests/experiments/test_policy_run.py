"""job=policy as a user runs it: shared stages, sweeps, kills, real text, bad rows."""

import gzip
import json
import math
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.cells import prepare
from tests.conftest import DATA
from tests.helpers.commands import cells, run, start
from tests.helpers.configs import composed
from tests.helpers.policies import SMALL_POLICY as SMALL
from tests.helpers.policies import history
from tests.helpers.suspects import check_suspects

GRID = ["-m", "loss=ramp,logistic,cdpo,rdpo", "noise=0,0.2,0.4", "seed=0,1", "assumed_rate=0"]
METRICS = [
    "test/implicit_accuracy", "test/implicit_accuracy_se", "train/flipped_memorised",
    "validation/noisy_accuracy", "policy/win_rate", "policy/win_rate_low", "policy/win_rate_high",
    "policy/win_rate_chosen", "policy/gold_reward", "reference/gold_reward", "policy/kl",
    "policy/kl_se", "policy/length", "policy/truncated", "policy/entropy",
    "test/logp_chosen", "test/logp_rejected", "test/reward_chosen", "test/reward_rejected",
    "train/margin_flipped", "train/margin_unflipped", "train/flip_auroc",
    "validation/noise_estimate", "validation/noise_estimate_se",
]  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    results = tmp_path_factory.mktemp("policies")
    code, out, err = run(results, *GRID, *SMALL, figures=True)
    assert code == 0, err
    return results, out


def test_stages_are_made_once_for_a_sweep(swept: tuple[Path, str]) -> None:
    results, out = swept
    assert len(cells(results)) == 24
    made = [line.split("  ")[-1].split(":")[0] for line in out.splitlines() if ": made in" in line]
    # one reference; pairs, log-probabilities and answers once per seed
    assert {name: made.count(name) for name in set(made)} == {
        "sft": 1, "pairs": 2, "reference-logps": 2, "reference-answers": 2
    }  # fmt: skip
    assert len(list((results / "stages").glob("sft-*"))) == 1


def test_later_sweeps_reuse_stages_and_say_so(swept: tuple[Path, str]) -> None:
    results, _ = swept
    code, out, err = run(results, "loss=sigmoid", "noise=0.1", *SMALL)
    assert code == 0, err
    assert ": made in" not in out and out.count("reused, ") == 4
    # a part of the config that determines the reference is another reference
    code, out, err = run(results, "loss=sigmoid", "noise=0.1", *SMALL, "job.sft.batch_size=16")
    assert code == 0, err
    assert out.count(": made in") == 4


def test_cells_measure_what_the_contract_says(swept: tuple[Path, str]) -> None:
    results, out = swept
    path = cells(results)["ramp/noise=0.4/seed=1"]
    found = history(path)
    assert [metrics["epoch"] for metrics in found] == [0, 1, 2]
    for metrics in found:
        assert all(name in metrics for name in METRICS)
        assert metrics["policy/win_rate_low"] <= metrics["policy/win_rate"]
    start_metrics = found[0]
    assert start_metrics["test/implicit_accuracy"] == 0.5  # all margins are 0 before training
    assert abs(start_metrics["policy/kl"]) < 1e-6
    assert start_metrics["train/flip_auroc"] == start_metrics["validation/noise_estimate"] == 0.5
    assert start_metrics["test/reward_chosen"] == start_metrics["train/margin_flipped"] == 0
    last = found[-1]
    assert 0 < last["policy/entropy"] < math.log(35)  # 32 symbols, and those that begin and end
    margin = last["test/reward_chosen"] - last["test/reward_rejected"]
    assert margin == pytest.approx(last["test/margin_mean"])
    assert {file.name for file in path.iterdir()} == {
        "config.yaml", "data.json", "metrics.jsonl", "summary.json", ".lock", "samples",
        "policy", "policy_selected", "suspects.csv",
    }  # fmt: skip
    check_suspects(path, set())
    lines = (path / "samples" / "last.jsonl").read_text().splitlines()
    assert len(lines) == 32
    assert set(json.loads(lines[0])) >= {"id", "prompt", "chosen", "policy", "reference"}
    assert (path / "samples" / "selected.jsonl").is_file()
    for figure in (
        "win_rate_vs_noise", "implicit_accuracy_vs_noise", "win_rate_vs_kl", "training_panel",
        "flip_auroc_vs_noise", "noise_estimate_vs_noise",
    ):  # fmt: skip
        assert str(results / "latest" / f"{figure}.png") in out
        assert (results / "latest" / f"{figure}.pdf").is_file()


def test_at_assumed_rate_zero_three_losses_are_one(swept: tuple[Path, str]) -> None:
    found = cells(swept[0])
    for noise in ("0", "0.2", "0.4"):
        paths = [
            (found[f"{loss}/noise={noise}/seed=0"] / "metrics.jsonl").read_text()
            for loss in ("logistic", "cdpo", "rdpo")
        ]
        assert paths[0] == paths[1] == paths[2]


def test_cells_of_a_seed_share_pairs_flips_and_reference(swept: tuple[Path, str]) -> None:
    found = cells(swept[0])
    first = [history(found[f"{loss}/noise=0.4/seed=0"])[0] for loss in ("ramp", "logistic")]
    assert first[0] == first[1]  # before training there is nothing that differs
    other = history(found["ramp/noise=0.4/seed=1"])[0]
    assert other["reference/gold_reward"] != first[0]["reference/gold_reward"]


def test_a_cell_of_a_sweep_is_the_cell_alone(swept: tuple[Path, str], tmp_path: Path) -> None:
    results, _ = swept
    shutil.copytree(results / "stages", tmp_path / "stages")
    code, _, err = run(tmp_path, "loss=ramp", "noise=0.2", "seed=1", "assumed_rate=0", *SMALL)
    assert code == 0, err
    ((name, alone),) = cells(tmp_path).items()
    together = cells(results)[name]
    batch = [json.loads((path / "summary.json").read_text()) for path in (alone, together)]
    assert [one["trained_together"] for one in batch] == [1, 6]
    for file in ("metrics.jsonl", "samples/last.jsonl", "samples/selected.jsonl"):
        assert (alone / file).read_text() == (together / file).read_text()


def test_killed_cell_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    cell = ["loss=ramp", "noise=0.4", *SMALL, "job.epochs=6", "job.checkpoint_minutes=0"]
    code, _, err = run(tmp_path / "undisturbed", *cell)
    assert code == 0, err
    process = start(tmp_path / "killed", *cell)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("killed/runs/*/*/*/*/*/unfinished/checkpoint.pt")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (path,) = cells(tmp_path / "killed").values()
    assert not (path / "summary.json").exists()
    code, out, err = run(tmp_path / "killed", *cell)
    assert code == 0, err
    assert "resumes from epoch" in out
    (undisturbed,) = cells(tmp_path / "undisturbed").values()
    assert (path / "metrics.jsonl").read_text() == (undisturbed / "metrics.jsonl").read_text()
    for which in ("last", "selected"):
        mine, theirs = (p / "samples" / f"{which}.jsonl" for p in (path, undisturbed))
        assert mine.read_text() == theirs.read_text()
    assert not (path / "unfinished").exists()


def test_a_forced_run_that_is_killed_leaves_the_old_one_whole(tmp_path: Path) -> None:
    cell = ["loss=ramp", "noise=0.4", *SMALL, "job.save_policy=true"]
    code, _, err = run(tmp_path, *cell)
    assert code == 0, err
    (path,) = cells(tmp_path).values()
    names = ("metrics.jsonl", "summary.json", "last.jsonl", "selected.jsonl", "model.safetensors")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.name in names}
    assert len(before) == 6  # weights of two epochs
    process = start(tmp_path, *cell, "force=true")
    deadline = time.monotonic() + 120
    while not (path / "unfinished" / "samples" / "last.jsonl").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert {file: file.read_bytes() for file in before} == before
    code, out, err = run(tmp_path, *cell, "force=true")
    assert code == 0, err
    assert out.count(": made in") == 4  # by force the stages are made again, too
    assert not (path / "unfinished").exists()
    same = set(before) - {path / "summary.json"}
    assert {file: file.read_bytes() for file in same} == {file: before[file] for file in same}


TEXT = [
    "job=policy", "dataset.train_pairs=24", "dataset.validation_pairs=8", "dataset.test_pairs=8",
    "dataset.max_length=96", "dataset.max_prompt_length=48", "job.sampling.prompts=4",
    "job.sampling.max_new_tokens=12", "job.batch_size=8", "job.evaluate_every=0.5",
    "job.sft.batch_size=8", "threads=1",
]  # fmt: skip


@pytest.fixture
def stories() -> str:
    if not DATA.is_dir():
        pytest.skip("the real data is not beside this checkout (../shared/data)")
    return f"model.name_or_path={DATA / 'stories260K'}"


def test_real_dialogues_with_a_pretrained_model(tmp_path: Path, stories: str) -> None:
    code, _, err = run(
        tmp_path, "-m", "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}", stories, *TEXT,
        "loss=ramp,dr_dpo", "noise=0.3", "model.lora_rank=2", "job.save_policy=true",
        "job.precision=bfloat16", "job.gradient_checkpointing=true",
    )  # fmt: skip
    assert code == 0, err
    path = cells(tmp_path)["ramp/noise=0.3/seed=0"]
    found = history(path)
    assert [metrics["epoch"] for metrics in found] == pytest.approx([0, 2 / 3, 1])
    assert "policy/win_rate" not in found[-1] and found[-1]["policy/length"] > 0
    sample = json.loads((path / "samples" / "last.jsonl").read_text().splitlines()[0])
    assert [turn["role"] for turn in sample["prompt"]][-1] == "user"
    assert (path / "policy" / "adapter_model.safetensors").is_file()
    assert not list((tmp_path / "latest").glob("*.png"))
    made = (tmp_path / "latest" / "provenance.json").read_text()
    assert "dataset.path=FOLDER model.name_or_path=FOLDER" in made and str(DATA) not in made


def test_own_rows_as_messages(tmp_path: Path, stories: str) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Tell me story {i}."}],
            "chosen": [{"role": "assistant", "content": f"Once there was a cat, number {i}."}],
            "rejected": [{"role": "assistant", "content": f"No {i}."}],
        }
        for i in range(60)
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run(
        tmp_path / "results", "dataset=preferences", f"dataset.path={file}", stories, *TEXT,
        "loss=sigmoid", "noise=0.2", "job/margin=simpo",
    )  # fmt: skip
    assert code == 0, err
    bad = tmp_path / "bad.jsonl"
    rows[3]["rejected"] = 7  # type: ignore[assignment]
    bad.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, err = run(
        tmp_path / "other", "dataset=preferences", f"dataset.path={bad}", stories, *TEXT
    )
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert "bad.jsonl" in err and "row 4" in err and "rejected" in err
    assert not (tmp_path / "other" / "runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b"}\n', ["row 1", "rejected"]),
        ('{"chosen": \n', ["row 1", "JSON"]),
    ],
)
def test_bad_row_of_a_public_set(tmp_path: Path, stories: str, text: str, words: list[str]) -> None:
    folder = tmp_path / "hh" / "helpful-base"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "wt") as file:
            file.write(text)
    code, out, err = run(
        tmp_path / "results", "dataset=hh", f"dataset.path={tmp_path / 'hh'}", stories, *TEXT
    )
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert "jsonl.gz" in err and all(word in err for word in words), err


def test_what_determines_a_stage_is_in_its_key(tmp_path: Path, stories: str) -> None:
    def keys(*overrides: str) -> tuple[str, str]:
        config, choices = composed(
            "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}", stories, *TEXT,
            f"results_dir={tmp_path}", *overrides,
        )  # fmt: skip
        cell = prepare(config, choices)
        shared = cell.job.shared(cell, SimpleNamespace(note=print, status=print))
        return shared._sft_key.digest(8), shared._preferences_key.digest(8)

    before = keys()
    changed = tmp_path / "model"
    shutil.copytree(DATA / "stories260K", changed, copy_function=shutil.copy)
    assert keys(f"model.name_or_path={changed}") == before  # the place says nothing
    settings = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(settings | {"rms_norm_eps": 1e-4}))
    moved = tmp_path / "other"
    changed.rename(moved)
    for override in (
        f"model.name_or_path={moved}", "dataset.max_length=80", "dataset.max_prompt_length=40",
        "dataset.subsets=[helpful-base]", "dataset.train_pairs=20",
    ):  # fmt: skip
        after = keys(override)
        assert after[0] != before[0] and after[1] != before[1], override
    assert keys("job.sft.seed=1")[0] != before[0] and keys("job.sft.seed=1")[1] == before[1]
    assert keys("dataset.test_pairs=4")[0] == before[0] != keys("job.precision=bfloat16")[0]
    assert keys("loss=logistic", "noise=0.4", "job.learning_rate=1", "seed=3") == before


def test_noise_by_margin_needs_a_true_reward(tmp_path: Path, stories: str) -> None:
    code, out, err = run(
        tmp_path, "dataset=hh", f"dataset.path={DATA / 'hh-rlhf'}", stories, *TEXT,
        "noise_model=instance_dependent", "noise=0.3",
    )  # fmt: skip
    assert (code, out) == (2, "") and len(err.splitlines()) == 1
    assert "noise_model=instance_dependent needs the true reward" in err


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper_hh", "paper_ultrafeedback"])
def test_paper_presets_run_with_a_tiny_model(tmp_path: Path, stories: str, preset: str) -> None:
    data = {"paper_hh": "hh-rlhf", "paper_ultrafeedback": "ultrafeedback_binarized"}[preset]
    code, out, err = run(
        tmp_path, "-m", f"experiment={preset}", f"dataset.path={DATA / data}", stories, *TEXT[1:]
    )
    assert code == 0, err
    assert "24 cells: 24 run" in out and "*: the loss was given the true noise rate" in out


def test_damaged_stages_and_summaries_are_made_again(tmp_path: Path) -> None:
    cell = ["loss=ramp", "noise=0.4", *SMALL]
    code, _, err = run(tmp_path, *cell)
    assert code == 0, err
    (path,) = cells(tmp_path).values()
    before = (path / "metrics.jsonl").read_bytes()
    (weights,) = tmp_path.glob("stages/sft-*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-5000:-1000] = bytes(byte ^ 255 for byte in content[-5000:-1000])
    weights.write_bytes(content)
    (pairs,) = tmp_path.glob("stages/pairs-*/train-chosen.npz")
    pairs.write_bytes(pairs.read_bytes()[:100])
    (path / "summary.json").write_bytes((path / "summary.json").read_bytes()[:100])
    code, out, err = run(tmp_path, *cell)
    assert code == 0, err
    for file in (weights, pairs, path / "summary.json"):
        assert sum(f"{file} is damaged" in line for line in out.splitlines()) == 1, out
    assert (path / "metrics.jsonl").read_bytes() == before
    assert weights.parent.with_name(f"{weights.parent.name}.damaged").is_dir()
