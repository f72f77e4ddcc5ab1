import numpy as np
import pandas as pd
import pytest
from synthetic import write_run, write_sweep

from sympo.analysis import Collection, draw, loss_gallery
from sympo.analysis.plots import save


@pytest.fixture
def collection(tmp_path):
    absent = [("ramp", 0.3, 1), ("hinge", 0.3, 0), ("hinge", 0.3, 1), ("hinge", 0.3, 2)]
    write_sweep(tmp_path, {"ramp": None, "hinge": None}, [0.0, 0.3], [0, 1, 2], missing=absent)
    return Collection.from_runs(tmp_path)


def texts(figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_figures_say_what_they_show(collection):
    figures = draw(collection)
    assert list(figures) == [
        "accuracy_vs_noise",
        "accuracy_vs_epochs",
        "memorised_vs_epochs",
        "reward_vs_digit",
    ]
    for figure in figures.values():
        said = " ".join(texts(figure).split())
        assert "digits, symmetric noise" in said
        assert "95% Student t interval" in said
    assert "n=2" in texts(figures["accuracy_vs_noise"])
    caption = " ".join(figures["accuracy_vs_noise"].get_supxlabel().split())
    assert "Missing cells: 4 (hinge at 0.3: 3; ramp at 0.3: 1)" in caption


def test_one_seed_says_that_its_interval_is_over_test_pairs(tmp_path):
    write_run(tmp_path)
    figure = draw(Collection.from_runs(tmp_path))["accuracy_vs_noise"]
    assert "over the test pairs only" in figure.get_supxlabel()


def test_files_are_the_same_bytes_each_time(collection, tmp_path):
    saved = [
        save(draw(collection)["accuracy_vs_noise"], tmp_path / name) for name in ("first", "second")
    ]
    for first, second in zip(*saved, strict=True):
        assert first.stat().st_size > 5000
        assert first.read_bytes() == second.read_bytes()


def test_gallery_names_the_symmetric_losses(tmp_path):
    z = np.linspace(-5, 5, 101)
    losses = {"sigmoid": 1 / (1 + np.exp(z)), "logistic": np.logaddexp(0, -z)}
    curves = pd.concat(
        [
            pd.DataFrame({"loss": name, "z": z, "value": value, "sum": value + value[::-1]})
            for name, value in losses.items()
        ]
    )
    assert "every z: sigmoid." in " ".join(loss_gallery(curves).get_supxlabel().split())
