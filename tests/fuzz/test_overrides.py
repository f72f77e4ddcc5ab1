"""Command lines: the value that was typed, or one sentence and exit code 2."""

import contextlib
import io
import logging
import math
import os
import re
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import experiments.dry_run
import run
from experiments.cells import prepare
from experiments.quoting import quoted, suggested
from experiments.settings import groups
from hydra_plugins.sympo_sweeper import CellSweeper
from tests.fuzz.fuzzing import check_sentence, folder, fuzz, many, refusal
from tests.fuzz.strategies import plain, values
from tests.helpers.configs import OPTIONS, composed

seen: list[Any] = []
SMALL = ["dataset.train_pairs=8", "dataset.validation_pairs=8", "dataset.test_pairs=8"]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """run.main() as a command, its plan kept in `seen` and nothing run."""

    def ran(*_: Any, **__: Any) -> None:
        raise AssertionError("cells were run, and the command asks for a plan")

    def show_one(config: DictConfig, choices: Any) -> None:
        seen.append(prepare(config, choices).config)

    def show(planned: Any, *_: Any) -> None:
        seen.extend(one.cell.config for one in planned)

    # Hydra looks for configs beside the file of a program, and beside a module elsewhere
    monkeypatch.setattr(run.cell.__wrapped__, "__module__", "__main__")
    monkeypatch.setattr(experiments.dry_run, "show_one", show_one)
    monkeypatch.setattr(experiments.dry_run, "show", show)
    monkeypatch.setattr(CellSweeper, "_launch", ran)
    monkeypatch.setattr("sympo.pipelines.runner.run_cells", ran)
    monkeypatch.setattr(run, "FULL_ERROR", False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", [])
    yield
    GlobalHydra.instance().clear()


def command(*arguments: str) -> tuple[int, list[Any], str]:
    """The exit code, the planned configs and the error of a command."""
    GlobalHydra.instance().clear()
    run.bad_input.clear()
    run.outcomes.clear()
    seen.clear()
    out, err = io.StringIO(), io.StringIO()
    with folder() as results, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        last = [*SMALL, f"results_dir={results}", "device=cpu", "dry_run=true"]
        sys.argv = ["run.py", *arguments, *last]
        level = logging.getLogger().level
        try:
            code = run.main()
        finally:
            logging.getLogger().setLevel(level)  # hydra.verbose changes it
        left = [path for path in results.rglob("*") if path.is_file()]
    said = err.getvalue()
    assert code in (0, 2), (arguments, code, said)
    if code == 2:
        assert said.startswith("error: ") and said.endswith("\n"), (arguments, said)
        check_sentence(said.removeprefix("error: ")[:-1])
        assert not left, left
    return code, list(seen), said


def _leaves(config: DictConfig, place: str = "") -> Iterator[str]:
    for key in config:
        name, value = f"{place}{key}", config._get_node(key)
        yield name
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _leaves(value, f"{name}.")


CONFIG, CHOICES = composed()
KEYS = sorted(_leaves(CONFIG))
# a key that may name any file, or a program to start
_LEFT_OUT = ("results_dir", "dry_run", "device", "report_dir", "dataset.train_pairs",
             "dataset.validation_pairs", "dataset.test_pairs", "threads")  # fmt: skip
KEYS = [key for key in KEYS if key not in _LEFT_OUT and "_target_" not in key]


@st.composite
def near(draw: st.DrawFn, one: st.SearchStrategy[str]) -> str:
    """A name with one character more, less or another."""
    name = draw(one)
    place = draw(st.integers(0, len(name)))
    sign = draw(st.sampled_from([*string.ascii_lowercase, "_", ".", "/", "é", " ", "-", "@", "="]))
    return name[:place] + sign + name[place + draw(st.integers(0, 1)) :]


keys = st.one_of(
    st.sampled_from(KEYS),
    st.sampled_from([key for key in KEYS if "." not in key]),
    near(st.sampled_from(KEYS)),
    st.sampled_from(sorted(groups() - {"job", "experiment"})),
    near(st.sampled_from(sorted(groups()))),
    st.sampled_from(["loss.beta", "dataset.path", "model._target_", "hydra.verbose", "judge.model",
                     "model.dropout.p", "report.claims", "noise.rate", "loss@model", "/loss"]),
    plain.filter(lambda text: not text.startswith("-")),
)  # fmt: skip
words = st.sampled_from(
    ["", "null", "true", "false", "0", "-1", "1", "2", "0.1", "0.49", "0.5", "1e-3", "1e400", "nan",
     "inf", "-inf", "0x10", "1_000", "007", "1.0.0", "???", "~", "[]", "{}", "[1,2]", "[1,[2]]",
     "{a:1}", "{a:{b:null}}", "[a,'b c']", "(1)", "[1", "1]", "{a", "'a", '"a', "'a b'", '"1"',
     "a b", "a:b", "a=b", "a,b", "1,2", "0.1,0.2", "0.1,0.7", "ramp,logistic", "ramp,,", ",", "1,",
     "range(3)", "range(3,1)", "range(1e9)", "range(0,100000000)", "range(1,2,0)", "choice(1,2)",
     "interval(0,1)", "glob(*)", "glob(r*)", "shuffle(1,2)", "sort(2,1)", "tag(a,1)", "int(1.5)",
     "str(1)", "float(a)", "json_str([1)", "extend_list(1)", "${seed}", "${noise}", "${nope}",
     "${", "$", "\\", "${oc.env:HOME}", "${oc.env:NO_SUCH_NAME}", "${oc.env:NO_SUCH_NAME,1}",
     "${of_job:a,b}",
     "${oc.decode:'['}", "${noise},${seed}", "${..seed}", "日本", "é", "🤖", "a\nb", "\t", "\x00",
     "a" * 300, "9" * 400, "9223372036854775808", "-9223372036854775809", "1e308", "5e-324", "%s",
     "digits", "gold_language", "none", "symmetric", "small_cnn", "tfidf",
     "{_target_: os.system}", "[{_target_: a.b}]", "ramp@loss", "a/b", "../x", ".", "*", "#a", "!a",
     "&a", "@a", "|", ">", "2024-01-01",
     "12:30:00", "yes", "on", "None", "True", "ramp", "logistic"]
)  # fmt: skip
typed = st.one_of(words, words, plain, st.tuples(words, words).map(",".join))
prefixes = st.sampled_from(["", "", "", "", "", "+", "++", "~"])
overrides = st.one_of(
    st.builds(lambda prefix, key, value: f"{prefix}{key}={value}", prefixes, keys, typed),
    st.builds(lambda prefix, key: f"{prefix}{key}", prefixes, keys),
    plain.filter(lambda text: not text.startswith("-")),
).filter(lambda text: not text.startswith("-"))


@pytest.mark.usefixtures("in_process")
@many(8, 500)
def test_a_command_line_is_carried_out_or_refused(examples: int) -> None:
    def check(given: tuple[bool, list[str]]) -> None:
        many, arguments = given
        command(*["-m"] * many, *arguments)

    lines = st.tuples(st.booleans(), st.lists(overrides, min_size=1, max_size=2))
    fuzz(examples, lines, check)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["seed=1" + "0" * 4999], r"seed=10{90,}\.\.\.: .* cannot be read \(Exceeds"),
        (["a" * 5000 + "=1"], r"File name too long"),
        (["-m", "seed=range(0,100000000)"], r"seed=range\(0,100000000\): .* at most 1,000,000"),
        (["-m", "seed=range(2000)", "job.epochs=range(1,2000)"], r"at most 1,000,000 cells"),
        (["hydra/launcher=x"], r"no such option; use one of basic, batched"),
        (["-m", "hydra.launcher=x"], r"hydra.launcher=x: .*; use hydra/launcher=OPTION"),
        (["wandb.project=" + "[" * 90 + "]" * 90], r"wandb.project="),
        (["job=policy", "judge=reward_model", "judge.device=[]"], r"device=\[\] is not available"),
        (["hydra.verbose=null"], r"hydra.verbose=null: it must be true, false, a logger's name"),
        (["-m", "++hydra.verbose=3"], r"hydra.verbose=3: it must be true, false, a logger's name"),
        (["hydra.verbose=[1]"], r"hydra.verbose=\[1\]: it must be true, false, a logger's name"),
    ],
)
def test_what_once_went_wrong(line: list[str], words: str) -> None:
    code, configs, said = command(*line)
    assert code == 2 and not configs
    assert re.search(words, said), said


# what is typed, and the value that it must become
exact = st.one_of(
    st.floats(0, 0.499).map(lambda rate: ("noise", repr(rate), rate)),
    st.integers(0, 2**63 - 1).map(lambda seed: ("seed", str(seed), seed)),
    st.integers(1, 10**6).map(lambda epochs: ("job.epochs", str(epochs), epochs)),
    st.floats(1e-6, 1).map(lambda rate: ("job.learning_rate", repr(rate), rate)),
    st.text(string.ascii_letters + " é日{}[]()=,:'$#", min_size=1, max_size=8)
    .filter(lambda text: "${" not in text)
    .map(lambda text: ("wandb.project", "'" + text.replace("'", "\\'") + "'", text)),
)


@pytest.mark.usefixtures("in_process")
@many(5, 200)
def test_accepted_values_are_those_typed(examples: int) -> None:
    def check(given: tuple[bool, list[tuple[str, str, Any]]]) -> None:
        many, settings = given
        line = [f"{key}={text}" for key, text, _ in settings]
        code, [config], _ = command(*["-m"] * many, *line)
        assert code == 0
        for key, value in {key: value for key, _, value in settings}.items():
            found: Any = config
            for part in key.split("."):
                found = found[part]
            assert found == value and type(found) is type(value), (line, found)

    fuzz(examples, st.tuples(st.booleans(), st.lists(exact, min_size=1, max_size=3)), check)


@pytest.mark.usefixtures("in_process")
@many(2, 40)
def test_a_sweep_has_every_value_once(examples: int) -> None:
    def check(rates: list[float]) -> None:
        code, configs, _ = command("-m", f"noise={','.join(map(repr, rates))}", "seed=1,2")
        assert code == 0
        wanted = [(rate, seed) for rate in dict.fromkeys(rates) for seed in (1, 2)]
        assert [(config["noise"], config["seed"]) for config in configs] == wanted

    rates = st.lists(st.floats(0, 0.499).map(lambda x: round(x, 3)), min_size=2, max_size=4)
    fuzz(examples, rates, check)


@many(10, 1000)
def test_settings_of_any_value(examples: int) -> None:
    """Every setting of every option, as a preset or a saved config may set it."""
    configs: dict[tuple[str, str], tuple[DictConfig, Any]] = {}

    def check(given: tuple[tuple[str, str], int, Any]) -> None:
        option, number, value = given
        if option not in configs:
            job = ["job=policy"] if option[0] in ("sampler", "judge") else []
            with contextlib.suppress(Exception):  # an option of another job or data set
                configs[option] = composed(*job, f"{option[0]}={option[1]}", *SMALL)
        if option not in configs:
            return
        base, choices = configs[option]
        names = [key for key in _leaves(base) if key.startswith(f"{option[0]}.")] + [
            "noise",
            "seed",
        ]
        key = names[number % len(names)]
        config = OmegaConf.create(OmegaConf.to_container(base))
        assert isinstance(config, DictConfig)
        with folder() as results:
            OmegaConf.update(config, "results_dir", str(results))
            try:
                OmegaConf.update(config, key, value, merge=False)
            except (OmegaConfBaseException, ValueError):
                return  # not a value of a YAML file
            found: list[Any] = []
            refused = refusal(lambda: found.append(prepare(config, choices).config))
            if refused is None:
                read: Any = found[0]
                for part in key.split("."):
                    read = read[part]
                if not isinstance(value, str):
                    assert read == value or (value is None and read is None)
            assert not (isinstance(value, float) and math.isnan(value)) or refused

    settings = st.tuples(st.sampled_from(OPTIONS), st.integers(0, 60), values)
    fuzz(examples, settings, check)


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@many(60, 1500)
def test_a_path_of_any_name_is_read_as_it_is(examples: int) -> None:
    def check(name: str) -> None:
        with folder() as place:
            path = place / name
            path.touch()
            read = OverridesParser.create().parse_override(quoted(f"dataset.path={path}"))
            assert read.value() == str(path)
        missing = quoted(f"dataset.path=/no/such/{name}")
        assert missing == f"dataset.path=/no/such/{name}"
        written = suggested(missing, sweep=False)
        assert written is None or isinstance(written, str)

    fuzz(examples, names, check)


@many(60, 1500)
def test_quotes_of_any_argument(examples: int) -> None:
    def check(argument: str) -> None:
        here = Path.cwd()
        with folder() as place:
            os.chdir(place)
            try:
                assert quoted(argument) == argument  # nothing is there
            finally:
                os.chdir(here)
        for sweep in (False, True):
            suggested(argument, sweep)

    there = st.sampled_from([".", "..", "/"])
    fuzz(examples, overrides.filter(lambda text: not _names(text, there)), check)


def _names(argument: str, _: object) -> bool:
    """Whether a part of an argument is a path that exists everywhere."""
    parts = argument.partition("=")[2].split(",")
    return any(set(part) <= {".", "/"} or part.startswith("~") for part in parts if part)
