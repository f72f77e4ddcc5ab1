import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import paper_rehearsal
from experiments.paper_rehearsal import SIZES, Size, command, hours
from tests.conftest import DATA, ROOT
from tests.helpers.configs import composed


def test_hours() -> None:
    size = Size(8, 8, 1, 1, 1, 64, 8, prompts=64, new_tokens=8, checkpoint_minutes=1)
    seconds = {"sft": 20.0, "reference-logps": 10.0, "reference-answers": 5.0, "cell": 60.0}
    # a rehearsal sees 1,280 pairs and 64 prompts: a tenth and a sixteenth
    whole = 10 * (20 + 10) + 16 * 5 + 24 * 10 * 60
    assert hours(seconds, size, 12_800) == pytest.approx(whole / 3600)


@pytest.mark.parametrize("experiment", paper_rehearsal.PAIRS)
def test_the_command_is_a_cell_of_the_paper(experiment: str) -> None:
    line = command(experiment, SIZES["3b"], "FOLDER", Path("model"), Path("out"), "cuda")
    config, choices = composed(*line[line.index("-m") + 1 :])
    assert choices["loss"] == "ramp" and config.noise == 0.3
    assert config.job.sft.epochs * config.dataset.train_pairs / config.job.sft.batch_size == 20
    assert config.job.precision == "bfloat16" and config.job.gradient_checkpointing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "data"),
    [("paper_hh", "hh-rlhf"), ("paper_ultrafeedback", "ultrafeedback_binarized")],
)
def test_killed_and_resumed(experiment: str, data: str, tmp_path: Path) -> None:
    tiny = "Size(16, 32, 2, 2, 1, 4, 8, 4, 8, 0)"
    script = (
        "import sys; from experiments import paper_rehearsal as r; "
        f"r.SIZES['hundredth'] = r.{tiny}; r.main()"
    )
    arguments = ["--experiment", experiment, "--data", str(DATA / data), "--device", "cpu"]
    arguments += ["--tokenizer", str(DATA / "gpt2_tokenizer"), "--work", str(tmp_path / "work")]
    subprocess.run(
        [sys.executable, "-c", script, *arguments, "--out", str(tmp_path)], cwd=ROOT, check=True
    )
    found = json.loads((tmp_path / f"{experiment}_hundredth.json").read_text())
    assert set(found["seconds"]) >= {"sft", "reference-logps", "reference-answers", "cell"}
    assert found["peak_memory_bytes"] > 0 and found["hours_of_the_full_experiment_at_most"] > 0
    assert "resumes" in (tmp_path / "work" / f"{experiment}_hundredth" / "resumed.log").read_text()
