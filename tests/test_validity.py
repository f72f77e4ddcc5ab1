"""What cannot be what a run wrote is told, and run again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sympo.analysis import Collection
from sympo.analysis.__main__ import main
from sympo.disk import config_is_garbled, content_digest, sealed
from sympo.identity import Identity
from sympo.metrics import bounds
from sympo.runs.folder import RunFolder
from sympo.runs.names import CellName
from sympo.validity import history_fault, metrics_fault, summary_fault
from tests.analysis.synthetic import write_run

NAME = CellName("reward_model", "digits", "ramp", 0.3, "symmetric", "small_cnn", 0)
IDENTITY = Identity({"noise": 0.3, "dataset": {"train_pairs": 10}})


def finished(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path, NAME, IDENTITY)
    assert run.acquire()
    run.start("noise: 0.3\n", since=0)
    for epoch in (1, 2):
        run.log(epoch, {"test/order_accuracy": 0.5, "train/loss": -1.0})
    (run.unfinished / "samples").mkdir()
    (run.unfinished / "samples" / "last.jsonl").write_text("{}\n")
    run.finish({"epoch": 2, "test/order_accuracy": 0.5}, {"epoch": 1}, 1.0)
    run.release()
    assert run.complete
    return RunFolder(tmp_path, NAME, IDENTITY)


def changed(**changes: Any) -> Callable[[Path], None]:
    """Changes to a summary without a digest, as earlier versions wrote."""

    def change(folder: Path) -> None:
        file = folder / "summary.json"
        summary = json.loads(file.read_text()) | changes
        summary.pop("content_digest", None)
        file.write_text(json.dumps(summary))

    return change


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text)  # type: ignore[return-value]


def truncated(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])  # type: ignore[return-value]


LINE = '{"epoch": 1, "test/order_accuracy": 0.5}\n'
# of a run of any kind, and what is said of it
DAMAGE = {
    "truncated": (truncated("summary.json", 100), "broken JSON"),
    "empty": (written("summary.json", ""), "broken JSON"),
    "no object": (written("summary.json", "[1]"), "not a JSON object"),
    "deep": (written("summary.json", "[" * 100_000), "broken JSON"),
    "binary": (lambda f: (f / "summary.json").write_bytes(b"\xff\x00" * 50), "broken JSON"),
    "impossible": (
        changed(last={"epoch": 2, "test/order_accuracy": 123.0}),
        "last: test/order_accuracy is 123.0, and must lie in [0, 1]",
    ),
    "huge": (changed(last={"epoch": 2, "train/loss": 10**400}), "train/loss is 1000"),
    "text": (changed(last="abc"), "last is 'abc', not an object"),
    "text metric": (
        changed(last={"epoch": 2, "train/loss": "abc"}),
        "train/loss is 'abc', not a number",
    ),
    "selected": (changed(selected={"epoch": -1}), "selected: epoch is -1, and must be at least 0"),
    "noise": (changed(noise=0.7), "noise is 0.7"),
    "seed": (changed(seed="0"), "seed is '0'"),
    "another cell": (changed(seed=5), "it belongs to another cell"),
    "job": (changed(job=None), "it lacks job"),
    "defaults": (changed(at_default="abc"), "at_default is 'abc', not a list of settings"),
    "default": (changed(at_default=[1]), "at_default is '[1]', not a list of settings"),
    "evaluations cut": (truncated("metrics.jsonl", 30), "line 1 is broken JSON"),
    "evaluations lost": (written("metrics.jsonl", LINE), "it ends at epoch 1, the summary at"),
    "no evaluations": (written("metrics.jsonl", ""), "it is empty"),
    "odd evaluations": (written("metrics.jsonl", LINE.replace("0.5", "5")), "must lie in [0, 1]"),
    "evaluations gone": (lambda folder: (folder / "metrics.jsonl").unlink(), "it does not exist"),
}
# what a run's digests tell beyond that
OF_RUNS = {
    "config": (changed(config={}), "config does not match its hash"),
    "flipped": (
        lambda f: (f / "metrics.jsonl").write_text(
            (f / "metrics.jsonl").read_text().replace("-1.0", "-2.0")
        ),
        "differs from what the run wrote",
    ),
    "digit": (
        lambda f: (f / "summary.json").write_text(
            (f / "summary.json").read_text().replace("0.5", "0.6")
        ),
        "summary.json is damaged: it differs from what the run wrote",
    ),
    "samples": (written("samples/last.jsonl", "{}\n{}\n"), "samples/last.jsonl is damaged"),
}


@pytest.mark.parametrize("kind", [*DAMAGE, *OF_RUNS])
def test_a_damaged_run_is_set_aside(tmp_path: Path, kind: str) -> None:
    run = finished(tmp_path)
    damage, words = (DAMAGE | OF_RUNS)[kind]
    damage(run.path)
    assert not run.complete and not run.completed_since(0) and words in run.fault
    assert run.acquire() and words in run.set_aside_damaged()
    assert not (run.path / "summary.json").exists()
    assert (run.path / "summary.json.damaged").is_file()
    assert (run.path / "last.jsonl.damaged").is_file() == (kind == "samples")
    assert run.set_aside_damaged() == "" and not run.complete
    run.release()
    assert finished(tmp_path).complete


def test_whole_runs_are_complete(tmp_path: Path) -> None:
    run = finished(tmp_path)
    assert run.fault == "" and run.completed_since(0)
    shutil.rmtree(run.path / "samples")  # someone needs the room
    changed(files={})(run.path)
    assert RunFolder(tmp_path, NAME, IDENTITY).complete
    summary = json.loads((run.path / "summary.json").read_text())
    del summary["files"]  # of before there were digests
    (run.path / "summary.json").write_text(json.dumps(summary))
    assert RunFolder(tmp_path, NAME, IDENTITY).complete


@pytest.mark.parametrize("name", ["summary.json", "config.yaml", "metrics.jsonl"])
def test_every_flipped_bit_is_detected(tmp_path: Path, name: str) -> None:
    run = finished(tmp_path)
    file = run.path / name
    content, place = file.read_bytes(), run.path.parts[-5:]
    summary = json.loads((run.path / "summary.json").read_bytes())
    del summary["content_digest"]
    for bit in range(8 * len(content)):
        harmed = bytearray(content)
        harmed[bit // 8] ^= 1 << bit % 8
        if name == "config.yaml":
            assert config_is_garbled(bytes(harmed))
        elif name == "metrics.jsonl":
            assert content_digest(bytes(harmed)) != summary["files"][name]
        elif not summary_fault(bytes(harmed), place):
            found = json.loads(harmed)  # the name of the digest or the space around it was hit
            assert summary == {key: found[key] for key in summary}, bit


def test_folders_have_six_digits_of_a_rate(tmp_path: Path) -> None:
    # and summaries all of them
    folder = write_run(tmp_path, noise=1 / 3)
    assert folder.parent.name == "noise=0.333333"
    assert summary_fault((folder / "summary.json").read_bytes(), folder.parts[-5:]) == ""
    assert Collection.from_runs(tmp_path).cells["noise"].tolist() == [1 / 3]


@pytest.mark.parametrize("content", [b"", b"noise: 0", b"\xff\xfe", b"{{{{", b"a: b\n\x00"])
def test_a_garbled_config_is_written_again(tmp_path: Path, content: bytes) -> None:
    run = finished(tmp_path)
    file = run.path / "config.yaml"
    before = file.read_bytes()
    assert not run.mend_config(lambda: "x: 1\n") and file.read_bytes() == before
    # cut, or written over
    file.write_bytes(before[:-2] if content == b"noise: 0" else content)
    harmed = file.read_bytes()
    assert run.mend_config(lambda: "noise: 0.3\n") and file.read_bytes() == before
    assert (run.path / "config.yaml.damaged").read_bytes() == harmed


@pytest.mark.parametrize("kind", DAMAGE)
def test_analysis_names_what_is_damaged_and_draws_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    history = [
        {"epoch": epoch, "test/order_accuracy": 0.5, "validation/noisy_accuracy": 0.5,
         "train/loss": -1.0}
        for epoch in (1, 2)
    ]  # fmt: skip
    folders = [write_run(tmp_path, seed=seed, history=history) for seed in range(3)]
    damage, words = DAMAGE[kind]
    damage(folders[1])
    collection = Collection.from_runs(tmp_path)
    assert collection.cells["seed"].tolist() == [0, 2]
    assert collection.curves["seed"].tolist() == [0, 0, 2, 2]
    assert collection.incomplete["seed"].tolist() == [1]
    (said,) = collection.damaged
    assert words in said and str(folders[1]) in said and said in caplog.text


def test_analysis_of_damaged_runs_ends_with_one(tmp_path: Path, caplog: Any) -> None:
    folders = [write_run(tmp_path / "runs", seed=seed) for seed in range(2)]
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    (folders[0] / "config.yaml").write_bytes(b"\x00\x01\x02")
    (folders[1] / "summary.json").write_text("{")
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 1
    assert f"{folders[0]}/config.yaml is garbled" in caplog.text
    assert f"{folders[1]}/summary.json is damaged" in caplog.text


def test_analysis_names_a_digit_that_changed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = [{"epoch": 1, "test/order_accuracy": 0.5, "validation/noisy_accuracy": 0.5}]
    for seed in range(2):
        file = write_run(tmp_path, seed=seed, history=history) / "summary.json"
        file.write_text(sealed(json.loads(file.read_text()), indent=1))
    assert len(Collection.from_runs(tmp_path).cells) == 2
    file.write_text(file.read_text().replace("0.5", "0.6"))
    collection = Collection.from_runs(tmp_path)
    assert collection.cells["seed"].tolist() == [0]
    assert f"{file} is damaged: it differs from what the run wrote" in caplog.text


def test_cells_that_left_nothing_are_counted(tmp_path: Path) -> None:
    whole = write_run(tmp_path)
    nothing = whole.with_name("seed=7-0a1b2c3d")  # such as after a full disk
    collection = Collection.from_runs([whole, nothing])
    assert collection.incomplete["seed"].tolist() == [7] and not collection.damaged


def test_what_is_said_of_metrics() -> None:
    assert bounds("test/order_accuracy") == bounds("policy/win_rate_chosen") == (0, 1)
    assert bounds("test/kendall") == (-1, 1) and bounds("policy/kl")[0] < -1e300
    assert metrics_fault({"epoch": 0.25, "policy/kl": -0.1, "a/b": None, "note": "warm"}) == ""
    assert "test/x is nan" in metrics_fault({"epoch": 1, "test/x": float("nan")})
    assert "test/x is True" in metrics_fault({"epoch": 1, "test/x": True})
    assert metrics_fault({"test/x": 1}) == "it lacks epoch"
    assert history_fault(b'{"epoch": 1}\n\n{"epoch": 2}', 2) == ""
    assert summary_fault(b"{}", ["a"]) == "it lacks job"
