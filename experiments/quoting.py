"""Quotes values that Hydra's grammar rejects or misreads."""

import re
import shlex
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

# values that Hydra reads unchanged, except numbers
PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
OF_PATHS = ("path", "_dir", "runs")


def quoted(argument: str) -> str:
    """Quote an override if its value, or a swept value, is an existing path that Hydra would
    misread; otherwise return it unchanged."""
    key, equals, value = argument.partition("=")
    if not equals or key.startswith("-"):
        return argument
    values = [value] if _exists(value) else value.split(",")
    return f"{key}={','.join(_in_quotes(one) if _misread(key, one) else one for one in values)}"


def suggested(argument: str, sweep: bool) -> str | None:
    """Quote an override that Hydra rejects, for Hydra and the shell; None if quotes do not help.

    sweep: whether commas separate values.
    """
    key, equals, value = argument.partition("=")
    each = ",".join(one if PLAIN.fullmatch(one) else _in_quotes(one) for one in value.split(","))
    for written in ([each] if sweep else []) + [_in_quotes(value)]:
        if equals and _read(f"{key}={written}") is not None:
            return shlex.quote(f"{key}={written}")
    return None


def _misread(key: str, value: str) -> bool:
    if not value or not _exists(value):
        return False
    read = _read(f"key={value}")
    if PLAIN.fullmatch(value):
        return type(read) in (int, float) and key.endswith(OF_PATHS)
    return bool(read != value)


def _exists(value: str) -> bool:
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError):  # too long for a path, or no such user
        return False


def _read(argument: str) -> Any:
    """The value that Hydra reads from an override; None if it rejects the override."""
    try:
        override = OverridesParser.create().parse_override(argument)
        return override.value()
    except HydraException:
        return None


def _in_quotes(value: str) -> str:
    return QuotedString(text=value, quote=Quote.double).with_quotes()
