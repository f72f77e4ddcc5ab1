"""`python run.py --help`: the groups, and the settings of the chosen options with their meaning."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from omegaconf import OmegaConf

from experiments.errors import composed_options
from experiments.list_options import option_names, setting_notes
from experiments.list_yaml import read_option
from experiments.settings import CONF, groups

# keys that users do not set
_PLUMBING = ("_target_", "progress")
_WIDTH = 100


def show_help() -> None:
    """Print the help; options on the command line choose whose settings are shown."""
    words = yaml.safe_load((CONF / "hydra" / "help" / "sympo.yaml").read_text(encoding="utf-8"))
    print(words["header"])
    print("== Groups (GROUP=OPTION) ==\n")
    for group in sorted(groups()):
        listed = f"{group}: {', '.join(option_names(group))}"
        print(textwrap.fill(listed, _WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    print("\n== Settings (KEY=VALUE), of the chosen options ==\n")
    config, choices = composed_options()
    notes = setting_notes(choices)
    notes |= {one.name: one.note for one in read_option(CONF / "config.yaml").settings}
    for name, value in _leaves(OmegaConf.to_container(config)):
        note = f"  # {notes[name]}" if notes.get(name) else ""
        print(f"{name}={value}{note}")
    print(f"\n{words['footer']}", end="")


def _leaves(settings: Any, place: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if key in _PLUMBING:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{place}{key}.")
        else:
            yield f"{place}{key}", value if isinstance(value, str) else json.dumps(value)
