"""The commands that README and the documentation print: their settings and programs exist."""

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.quoting import quoted
from run import with_swept_groups
from tests.conftest import ROOT
from tests.helpers.configs import composed
from tests.test_docs import BLOCK, PAGES

EXTENSIONS = ROOT / "tests" / "extensions" / "conf"


def commands() -> list[str]:
    """Every command of a shell block, once, without its comment."""
    found = {}
    for page in PAGES:
        for block in BLOCK.finditer(page.read_text()):
            if block["language"] != "bash":
                continue
            for line in block["code"].replace("\\\n", " ").splitlines():
                for command in re.split(r"&&|;|\bdo\b", line):
                    words = shlex.split(command, comments=True)
                    if words[:1] and words[0].rpartition("/")[2] == "python":
                        found[shlex.join(words[1:])] = None
    return list(found)


COMMANDS = commands()
RUNS = [command for command in COMMANDS if command.startswith("run.py")]
PROGRAMS = sorted({c.split()[1] for c in COMMANDS if c.startswith("-m ")})


def test_there_are_commands() -> None:
    assert len(RUNS) > 60 and "sympo.analysis" in PROGRAMS


@pytest.mark.parametrize("command", RUNS)
def test_settings_of_commands_exist(command: str) -> None:
    """The first combination of a sweep is composed; Hydra refuses unknown options and keys."""
    words = shlex.split(command)[1:]
    overrides = [word for word in words if not word.startswith("-") and "=" in word]
    # a number in place of a variable of the shell
    overrides = [re.sub(r"\$\w+", "auto", word) for word in overrides]
    if any(map(_is_extension, overrides)):
        return  # run by the tests of the extensions
    swept = any("," in word or "range(" in word for word in overrides)
    assert not swept or "-m" in words, "a sweep needs -m"
    parsed = OverridesParser.create().parse_overrides(
        with_swept_groups([quoted(word) for word in overrides])
    )
    first = []
    for one in parsed:
        if one.is_sweep_override():
            value = next(iter(one.sweep_string_iterator()))
            first.append(f"{one.input_line.partition('=')[0]}={value}")
        else:
            first.append(one.input_line)
    composed(*first)


def _is_extension(override: str) -> bool:
    group, _, names = override.partition("=")
    return any((EXTENSIONS / group / f"{name}.yaml").is_file() for name in names.split(","))


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p.split(".")[0] != "pytest"])
def test_programs_exist(program: str) -> None:
    place = ROOT / program.replace(".", "/")
    file = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    assert file.is_file() and "__main__" in file.read_text() + file.name
