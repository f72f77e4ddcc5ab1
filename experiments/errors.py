"""Turns config errors, ours or Hydra's, into one sentence each."""

import re
import sys
import traceback

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from experiments.quoting import suggested
from experiments.settings import CONF, groups, unknown_override
from experiments.suggestions import missing_equals, sweep_or_list, unknown_option
from sympo.types import printable, shortened

_OF_A_CLASS = re.compile(r"hydra\.(?:launcher|sweeper)=")


def raised_by_hydra(error: BaseException) -> bool:
    """Whether Hydra itself raised the error, or the standard library for it: the error then
    concerns the command line."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    rooms = [str(frame.f_globals.get("__name__")).split(".")[0] for frame in frames]
    others = [room for room in rooms if room not in sys.stdlib_module_names]
    return bool(others) and others[-1] == "hydra"


def one_sentence(error: Exception) -> str:
    """The error's message in one line that names the key, the value and what is allowed."""
    return shortened(printable(_sentence(error)))


def _sentence(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _refused(error.override, text.splitlines()[0])
    if match := re.match(r"Ambiguous value for argument '(.*)'\n", text):
        of_group = match[1].split("=")[0] in groups()
        return sweep_or_list(match[1], of_group, suggested(match[1], False))
    if typed := _verbosity(error):
        return f"{typed}: it must be true, false, a logger's name or a list of such names"
    # Hydra refuses lists of numbers, and drops the choice if given several names
    a_list = isinstance(error, TypeError) or "full_key: hydra.runtime.choices" in text
    lists = ("Config group override must be", "Multiple values for hydra/job_settings")
    if a_list or text.startswith(lists):
        given = [argument for argument in sys.argv if argument.split("=")[0] in groups()]
        return f"{' '.join(given)}: a group takes the name of one of its options"
    if match := re.search(r"Could not find '(.+?)/([^/']+)'", text):
        group, option = match.groups()
        # Hydra's own groups have options elsewhere too
        listed = re.search(r"\nAvailable options in '.+?':((?:\n\t.+)*)", text)
        if options := listed[1].split() if listed else []:
            return unknown_option(group, option, options)
    if match := re.search(r"Could not override '(.+?)'", text):
        return unknown_override(match[1], composed_options()[0])
    if "`_target_`" in text and (given := [one for one in sys.argv if _OF_A_CLASS.match(one)]):
        group = given[0].split("=")[0].replace(".", "/")
        return f"{given[0]}: {group} is a group; use {group}=OPTION"
    if type(error) is ValueError and (argument := _unreadable()):
        shown = argument if len(argument) <= 100 else f"{argument[:100]}..."
        return f"{shown}: this value cannot be read ({' '.join(text.split())})"
    # some of Hydra's assertions say nothing
    return " ".join(text.split()) or f"{' '.join(sys.argv[1:])}: Hydra cannot use these settings"


def _verbosity(error: Exception) -> str | None:
    """The override of `hydra.verbose` if Hydra failed on it: it asserts the value's type."""
    frames = traceback.extract_tb(error.__traceback__)
    if not any(frame.name == "configure_log" for frame in frames):
        return None
    given = [one for one in sys.argv if one.lstrip("+").startswith("hydra.verbose=")]
    return given[-1] if given else None


def _unreadable() -> str | None:
    """The first override on the command line with a value that Hydra's parser fails on."""
    for argument in sys.argv[1:]:
        try:
            OverridesParser.create().parse_override(argument)
        except HydraException:
            continue
        except ValueError:
            return argument
    return None


def _refused(argument: str, reason: str) -> str:
    """The message for an override that Hydra's grammar refuses."""
    if written := suggested(argument, sweep=bool({"-m", "--multirun"} & set(sys.argv))):
        return f"{argument}: Hydra needs quotes around this value, {written} ({reason})"
    if meant := missing_equals(argument, composed_options()[0], groups()):
        return meant
    return f"{argument}: not an override of the form KEY=VALUE ({reason})"


def composed_options() -> tuple[DictConfig, dict[str, str]]:
    """The config composed from the options on the command line, without its other overrides, and
    the option of each group."""
    options = [one for one in sys.argv[1:] if re.fullmatch(r"[\w/]+=\w+", one)]
    chosen = [one for one in options if one.split("=")[0] in groups()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose("config", chosen, return_hydra_config=True)
        except HydraException:  # in an option, which the next run will report
            config = compose("config", return_hydra_config=True)
    choices = dict(config.hydra.runtime.choices)
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), choices
