"""`python run.py --list [GROUP]`: every option in one line, and what its settings mean.

Everything is read from `conf/` and from the source of the classes, in a second: nothing is imported
that imports torch.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.list_classes import ClassSource, find_class
from experiments.list_yaml import OptionFile, Setting, read_option
from experiments.settings import CONF, groups
from sympo.types import BadInput, closest

# what comes first; other groups follow by name
FIRST = (
    "job", "dataset", "loss", "noise_model", "model", "filter", "sampler", "judge", "job/margin",
    "experiment",
)  # fmt: skip
# the settings of a job lie apart, because data sets change them
JOB_SETTINGS = CONF / "hydra" / "job_settings"
INCLUDED = re.compile(r"- /hydra/job_settings/(\w+)@_here_")
# the setting of losses that assume a noise rate, and one at which their properties are listed
RATE, SOME_RATE = "assumed_rate", 0.1
PROPERTIES = {
    "symmetric": "symmetric",
    "convex": "convex",
    "bounded": "bounded",
    "calibrated": "calibrated",
    "cpe": "class-probability estimating",
}
NAMED_IF_NOT = ("symmetric", "convex", "bounded")
FLAG = "--list"


def asked_for(arguments: Sequence[str]) -> bool:
    return any(one == FLAG or one.startswith(f"{FLAG}=") for one in arguments)


def show_list(arguments: Sequence[str]) -> None:
    """Print the options of the groups on the command line, by default of all.

    Raises BadInput for a group that does not exist.
    """
    asked = [one.removeprefix(f"{FLAG}=") for one in arguments if one != FLAG]
    known = [*FIRST, *sorted(groups() - {*FIRST})]
    for group in asked:
        if group not in known:
            raise BadInput(f"{FLAG} {group}: there is no such group; {closest(group, known)}")
    for place, group in enumerate(asked or known):
        print(*[""] * bool(place), f"{group} ({group}=OPTION)", sep="\n")
        for line in _group_lines(group):
            print(line)


def option_names(group: str) -> list[str]:
    """The options of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def setting_notes(choices: Mapping[str, Any]) -> dict[str, str]:
    """What the settings of some options mean, by their dotted names; choices: by group."""
    return {
        setting.name: setting.note
        for group, name in choices.items()
        if name and (CONF / group / f"{name}.yaml").is_file() and not group.startswith("hydra")
        for _, settings in _settings(group, str(name))
        for setting in settings
        if setting.note
    }


def _group_lines(group: str) -> Iterator[str]:
    names = option_names(group)
    width = max(map(len, names))
    for name in names:
        option, source = _read(CONF / group / f"{name}.yaml")
        sentence = option.sentence or (source.sentence if source else "")
        if source and source.declares_properties:
            sentence = f"{sentence} {_properties(source, option)}"
        yield f"  {name:<{width}}  {sentence}".rstrip()
        if group == "experiment":  # whose settings are those of the other groups
            continue
        for place, settings in _settings(group, name):
            yield from [f"    {place}"] * bool(place)
            for setting in settings:
                note = f"  # {setting.note}" if setting.note else ""
                yield f"      {setting.name}={setting.value}{note}"


def _properties(source: ClassSource, option: OptionFile) -> str:
    """`[symmetric, not convex, bounded]`: what a loss declares, and whether it needs a rate."""
    given = {setting.name: _number(setting.value) for setting in option.settings}
    needs = RATE in {**source.defaults(), **given}
    if needs:
        given[RATE] = SOME_RATE
    declared = source.properties({key: value for key, value in given.items() if value is not None})
    if declared is None:
        return "[properties depend on its code]"
    words = [
        word if declared[name] else f"not {word}"
        for name, word in PROPERTIES.items()
        if declared[name] or name in NAMED_IF_NOT
    ]
    return f"[{', '.join(words)}{f'; needs {RATE}' * needs}]"


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _settings(group: str, name: str) -> Iterator[tuple[str, list[Setting]]]:
    """The settings of an option, as they are typed, in parts with a heading each."""
    file = CONF / group / f"{name}.yaml"
    whole = file.read_text(encoding="utf-8").startswith("# @package _global_")
    prefix = "" if whole else f"{group.replace('/', '.')}."
    yield "", _explained(file, prefix, whole)
    if group == "job":
        for place, part in _job_files(name):
            yield place, _explained(part, "job.", False)


def _explained(file: Path, prefix: str, whole: bool) -> list[Setting]:
    """The settings in a file, with what the docstring of its class says of those without a comment.

    whole: names begin with the group that they are in.
    """
    option, source = _read(file)
    short = {one.name: one.name.split(".", 1)[-1] if whole else one.name for one in option.settings}
    notes = source.notes({*short.values()}) if source else {}
    return [
        Setting(f"{prefix}{one.name}", one.value, one.note or notes.get(short[one.name], ""))
        for one in option.settings
    ]


def _read(file: Path) -> tuple[OptionFile, ClassSource | None]:
    option = read_option(file)
    return option, find_class(option.target) if option.target else None


def _job_files(job: str) -> Iterator[tuple[str, Path]]:
    """The files with the settings of a job, each with a heading: those that it builds upon, and
    those for texts."""
    own = JOB_SETTINGS / f"{job}.yaml"
    of_texts = JOB_SETTINGS / f"text_{job}.yaml"
    yield "of images" * of_texts.is_file(), own
    for name in INCLUDED.findall(own.read_text(encoding="utf-8")):
        yield "", JOB_SETTINGS / f"{name}.yaml"
    if of_texts.is_file():
        yield "of texts", of_texts


def main(arguments: Sequence[str]) -> int:
    """Show the list; returns the exit code."""
    try:
        show_list(arguments)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
