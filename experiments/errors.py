"""One sentence for an error in a config, ours or Hydra's."""

import re
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

from experiments.cells import unknown
from experiments.quoting import suggested
from sympo.types import printable

CONF = Path(__file__).parents[1] / "conf"


def raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised an error, which then is about the command line."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return bool(frames) and str(frames[-1][0].f_globals.get("__name__")).startswith("hydra.")


def one_sentence(error: Exception) -> str:
    """The error's message in one line that names the key, the value and what is allowed."""
    return printable(_sentence(error))


def _sentence(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _refused(error.override, text.splitlines()[0])
    if match := re.match(r"Ambiguous value for argument '(.*)'\n", text):
        hint = (
            f"; one text takes quotes, {written}" if (written := suggested(match[1], False)) else ""
        )
        return f"{match[1]}: several values are swept with -m, a list takes brackets{hint}"
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    # of a list Hydra takes no numbers, and keeps none of several names
    a_list = isinstance(error, TypeError) or "full_key: hydra.runtime.choices" in text
    if a_list or text.startswith("Config group override must be"):
        given = [argument for argument in sys.argv if argument.split("=")[0] in groups]
        return f"{' '.join(given)}: a group takes the name of one of its options"
    if match := re.search(r"Could not find '(.+?)/([^/']+)'", text):
        group, option = match.groups()
        options = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        if options:
            return f"{group}={option}: there is no such option; known are {', '.join(options)}"
    if match := re.search(r"Could not override '(.+?)'", text):
        key = match.group(1)
        parent, _, leaf = key.rpartition(".")
        known = _keys(parent) if parent else {*_keys(""), *groups}
        return f"{key}: {unknown(leaf, sorted(known - {'defaults', 'hydra', '_target_'}))}"
    return " ".join(text.split())


def _refused(argument: str, reason: str) -> str:
    """What to say of an override that Hydra's grammar refuses."""
    if written := suggested(argument, sweep=bool({"-m", "--multirun"} & set(sys.argv))):
        return f"{argument}: Hydra reads this value in quotes only, {written} ({reason})"
    return f"{argument}: this is not an override of the form KEY=VALUE ({reason})"


def _keys(place: str) -> set[str]:
    """The keys that config.yaml, or some option of a group, has at a place."""
    base: Any = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
    if not place:
        return set(base)
    group, *inside = place.split(".")
    options = [base.get(group, {})]
    for path in [*(CONF / group).glob("*.yaml"), *(CONF / group / "settings").glob("*.yaml")]:
        option: Any = OmegaConf.to_container(OmegaConf.load(path))
        options.append(option.get(group, option))  # a global option has the group as a key
    found: set[str] = set()
    for option in options:
        for key in inside:
            option = option.get(key, {}) if isinstance(option, dict) else {}
        found |= set(option) if isinstance(option, dict) else set()
    return found
