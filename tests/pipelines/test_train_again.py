"""What a second call in one session may reuse, and what it must not."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sympo
from sympo.data import LabelledImages, PreferenceSet, TextPairs
from sympo.types import BadInput

SMALL = {"train_pairs": 100, "validation_pairs": 50, "test_pairs": 100}
TEXTS = {"validation_pairs": 8, "test_share": 0.2}
FAST: dict[str, Any] = {"epochs": 1, "device": "cpu"}


def rows(good: str) -> list[dict[str, str]]:
    bad = {"yes": "no", "no": "yes"}[good]
    return [
        {"prompt": f"q{i}", "chosen": f"{good} it is {i}", "rejected": f"{bad} it is {i}"}
        for i in range(60)
    ]


def test_force_trains_again_in_a_session(tmp_path: Path) -> None:
    def train(**more: Any) -> sympo.Trained:
        return sympo.train_reward_model(sympo.Digits(**SMALL), results_dir=tmp_path, **FAST, **more)

    first = train()
    assert train().scorer is None
    again = train(force=True)
    assert again.scorer is not None and again.metrics == first.metrics


def test_files_that_change_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"

    def train() -> sympo.Trained:
        data = PreferenceSet(path=str(tmp_path), **TEXTS)
        return sympo.train_reward_model(data, results_dir=tmp_path / "results", **FAST)

    folders = []
    for good in ("yes", "no"):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows(good)))
        folders.append(train().folder)
    assert folders[0] != folders[1]


def test_rows_in_memory_are_those_that_were_given(tmp_path: Path) -> None:
    given = rows("yes")
    data = TextPairs(given, **TEXTS)
    before = data.fingerprint()
    given[0]["chosen"] = "something else"
    assert data.fingerprint() == before == TextPairs(rows("yes"), **TEXTS).fingerprint()
    found = sympo.train_reward_model(data, results_dir=tmp_path, **FAST)
    assert found.folder is not None
    assert (found.folder / "config.yaml").stat().st_size < 5_000  # no rows in it


def test_a_class_that_is_defined_again_is_another_one(tmp_path: Path) -> None:
    folders = []
    for power_of_it in (1, 2):

        class Mine(sympo.MarginLoss):
            identity = f"mine_{power_of_it}"
            properties = sympo.Ramp.properties
            power = power_of_it

            def __call__(self, z: torch.Tensor) -> torch.Tensor:
                return torch.sigmoid(-z) ** self.power

        data = sympo.Digits(**SMALL)
        folders.append(sympo.train_reward_model(data, Mine(), results_dir=tmp_path, **FAST).folder)
    assert folders[0] != folders[1]


def test_a_subclass_does_not_pass_for_its_base(tmp_path: Path) -> None:
    class Ramp(sympo.Ramp):
        pass

    with pytest.raises(BadInput, match="needs a name for its results"):
        sympo.train_reward_model(sympo.Digits(**SMALL), Ramp(), results_dir=tmp_path, **FAST)


def test_arguments_without_a_name_are_refused(tmp_path: Path) -> None:
    class Power(sympo.MarginLoss):
        identity = "power"
        properties = sympo.Ramp.properties

        def __init__(self, **settings: float) -> None:
            self.settings = settings

        def __call__(self, z: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(-z) ** self.settings["p"]

    with pytest.raises(BadInput, match="takes any argument"):
        sympo.train_reward_model(sympo.Digits(**SMALL), Power(p=2), results_dir=tmp_path, **FAST)


def test_the_official_test_images_are_part_of_the_content() -> None:
    draw = np.random.default_rng(0)
    pixels, rewards = draw.integers(0, 255, (40, 8, 8), np.uint8), draw.integers(0, 3, 40)

    @dataclass(frozen=True, kw_only=True)
    class Squares(sympo.ImageDataset):
        test: int

        def read(self) -> LabelledImages:
            return LabelledImages(pixels, rewards, self.test)

    settings = {"train_images": 10, "validation_images": 5, "train_pairs": 5, "validation_pairs": 5}
    prints = {Squares(**settings, test=test).fingerprint() for test in (0, 10)}
    assert len(prints) == 2


def test_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    sympo.train_reward_model(sympo.Digits(**SMALL), threads=1, **FAST)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noise": "x"}, "noise='x' is not allowed: it must be a number"),
        ({"seed": 1.5}, "seed=1.5 is not allowed: it must be a whole number"),
        ({"threads": -1}, "threads=-1 is not allowed"),
        ({"loss": 42}, "loss=42 is not known"),
        ({"model": sympo.CNN}, "it must be an object"),
        ({"model": "cnn"}, "model='cnn' is not allowed: it must be an object"),
        ({"noise_model": "asymmetric"}, "noise_model='asymmetric' is not allowed"),
        ({"results_dir": __file__}, "results_dir"),
        ({"loss": "ipo"}, "loss=ipo"),
        ({"epochs": 0.5}, "epochs=0.5 is not allowed: it must be a whole number"),
    ],
)
def test_wrong_types_are_refused_before_any_work(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as error:
        sympo.train_reward_model(sympo.Digits(**SMALL), **settings)
    assert words in str(error.value)


def test_numbers_of_numpy_and_classes_of_losses_are_taken(tmp_path: Path) -> None:
    one, other = (
        sympo.train_reward_model(
            sympo.Digits(**SMALL), loss, seed=seed, results_dir=tmp_path, **FAST
        ).folder
        for loss, seed in ((sympo.Logistic, np.int64(1)), ("logistic", 1))
    )
    assert one == other


def test_a_data_set_that_raises_is_one_sentence() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Broken(sympo.TextDataset):
        def rows(self, split: str) -> Iterator[dict[str, str]]:
            raise ValueError("kaput")
            yield {}

    with pytest.raises(BadInput, match="dataset=broken failed: ValueError: kaput"):
        sympo.train_reward_model(Broken(validation_pairs=5), **FAST)
