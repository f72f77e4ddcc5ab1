from dataclasses import replace
from pathlib import Path

import pytest

from sympo.analysis import Collection, draw, write_report
from sympo.analysis.paper_values import PaperValues, read_paper_values
from sympo.types import BadInput
from tests.analysis.synthetic import write_run
from tests.conftest import ROOT

VALID = """
- source: Figure 1
  dataset: digits
  metric: last/test/order_accuracy
  values:
    ramp: {0.1: 90, 0.4: 55.5}
    hinge: {0.1: 80}
"""


def read(folder: Path, text: str) -> tuple[PaperValues, ...]:
    (folder / "values.yaml").write_text(text)
    return read_paper_values(folder / "values.yaml")


def test_values_are_stored_as_metrics_are(tmp_path: Path) -> None:
    (found,) = read(tmp_path, VALID)
    assert found.values == {"ramp": {0.1: 0.9, 0.4: 0.555}, "hinge": {0.1: 0.8}}
    assert (found.source, found.noise_model) == ("Figure 1", "symmetric")


def test_the_shipped_file_is_empty_and_its_example_valid(tmp_path: Path) -> None:
    shipped = ROOT / "paper_values.yaml"
    assert read_paper_values(shipped) == ()
    lines = shipped.read_text().splitlines()
    example = [line[2:] for line in lines if line.startswith(("# - ", "#   "))]
    (found,) = read(tmp_path, "\n".join(line for line in example if "python" not in line))
    assert set(found.values) == {"logistic", "ramp"} and found.dataset == "mnist"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("source: x", "values.yaml must hold a list"),
        ("- 3", r"\[0\] must be a mapping with source, dataset, metric, values"),
        (VALID + "  noise_mode: x", r"\[0\]\.noise_mode: .* did you mean noise_model\?"),
        (VALID.replace("dataset: digits", "dataset: 3"), r"\.dataset=3 .* must be a text"),
        (VALID.replace("  dataset: digits\n", ""), r"\[0\]\.dataset is missing"),
        (VALID.replace("last/", ""), r"did you mean last/test/order_accuracy\?"),
        (VALID.replace("0.4:", "0.6:"), r"values\.ramp: noise rate 0\.6 .* lie in \[0, 0\.5\)"),
        (VALID.replace("55.5", "155"), r"values\.ramp\.0\.4=155 .* accuracy \(%\) from 0 to 100"),
        (VALID.replace("{0.1: 80}", "80"), r"values\.hinge=80 .* from noise rates to numbers"),
        ("- {", r"paper_values=.*values\.yaml cannot be read"),
    ],
)
def test_one_sentence_on_what_is_wrong(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read(tmp_path, text)


def test_values_are_drawn_and_written_beside_ours(tmp_path: Path) -> None:
    for loss in ("ramp", "logistic"):
        for noise in (0.1, 0.4):
            for seed in (0, 1):
                write_run(tmp_path / "runs", loss=loss, noise=noise, seed=seed)
    plain = Collection.from_runs(tmp_path / "runs")
    collection = replace(plain, paper_values=read(tmp_path, VALID))
    figure = draw(collection)["accuracy_vs_noise"]
    last, selected = figure.axes[:2]
    diamonds = [line for line in last.get_lines() if line.get_marker() == "D"]
    (mark,) = [line for line in diamonds if line.get_markerfacecolor() == "none"]
    assert list(mark.get_xdata()) == [0.1, 0.4]
    assert list(mark.get_ydata()) == pytest.approx([90, 55.5])
    assert last.get_ylim()[0] < 55.5
    assert not [line for line in selected.get_lines() if line.get_markerfacecolor() == "none"]
    assert "Hollow diamonds: numbers of the paper (Figure 1)" in figure.get_supxlabel()

    report = write_report(collection, tmp_path / "out")
    ramp = next(line for line in report.table.splitlines() if line.strip().startswith("ramp"))
    assert ramp.count("[") == 2 and "[90.0]" in ramp and "[55.5]" in ramp
    assert "[]: the paper's number (Figure 1)" in report.table
    assert "Figure 1 of the paper: no run of hinge has last/test/order_accuracy" in report.table
    assert list(report.summary.columns)[-2:] == ["paper", "paper_source"]
    assert "paper" not in write_report(plain, tmp_path / "plain").summary
