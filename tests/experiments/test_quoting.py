"""Overrides with paths of any name."""

import os
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from experiments.errors import one_sentence
from experiments.quoting import quoted, suggested
from sympo.types import BadInput

ODD = ["pairs (1).jsonl", "a,b.jsonl", "noise=0.1", "it's \"q\".jsonl", "[x]{y}", "日本 é.jsonl",
       "a#b&c", "back\\slash (1)", "trail ", "choice(1,2)"]  # fmt: skip


def read(argument: str) -> object:
    return OverridesParser.create().parse_override(argument).value()


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_is_there_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    assert read(quoted(f"dataset.path={path}")) == str(path)
    assert read(quoted(f"++dataset.path={path}")) == str(path)
    written = f'dataset.path="{tmp_path}"'
    assert quoted(written) == written


def test_each_of_the_swept_paths_is_read_as_it_is(tmp_path: Path) -> None:
    one, other = tmp_path / "pairs (1).jsonl", tmp_path / "plain.jsonl"
    one.touch(), other.touch()
    sweep = OverridesParser.create().parse_override(quoted(f"dataset.path={one},{other}"))
    assert sweep.is_sweep_override()
    assert [read(f"x={value}") for value in sweep.sweep_string_iterator()] == [str(one), str(other)]


def test_a_name_that_is_a_number_is_a_path_where_paths_belong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("2024", "null"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert read(quoted("dataset.path=2024")) == read(quoted("runs=2024")) == "2024"
    for same in (
        "seed=2024",
        "dataset.path=null",
        "-m",
        "loss=ramp,logistic",
        "noise=0.1,0.4",
        "--config-dir=2024",
        "dataset.path=missing (1)",
        "a" * 300 + "=" + "b" * 300,
    ):
        assert quoted(same) == same  # fmt: skip


@pytest.mark.parametrize("name", [name for name in ODD if name not in ("a,b.jsonl", "trail ")])
@pytest.mark.parametrize("sweep", [False, True])
def test_the_message_shows_what_works(
    monkeypatch: pytest.MonkeyPatch, name: str, sweep: bool
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *(["-m"] if sweep else [])])
    if name != "choice(1,2)":
        with pytest.raises(OverrideParseException) as error:
            OverridesParser.create().parse_overrides([f"dataset.path={name}"])
        assert str(suggested(f"dataset.path={name}", sweep)) in one_sentence(error.value)
    [argument] = os.popen(f"printf %s {suggested(f'dataset.path={name}', False)}").readlines()
    assert read(argument) == name


def test_swept_values_are_quoted_one_by_one() -> None:
    given = "dataset.path=pairs (1).jsonl,plain.jsonl"
    assert suggested(given, True) == "'dataset.path=\"pairs (1).jsonl\",plain.jsonl'"
    assert suggested(given, False) == "'dataset.path=\"pairs (1).jsonl,plain.jsonl\"'"
    assert suggested("no override", False) is None


def test_control_characters_are_shown_as_escapes() -> None:
    assert str(BadInput("a\x1b[31m\x07\n\u202e\ud800é")) == r"a\x1b[31m\x07\n\u202e\ud800é"
    assert one_sentence(ValueError("a \x1b[31m")) == r"a \x1b[31m"
