"""Whether settings that any version kept with verdicts are those of a judge of today."""

import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sympo.classes import spec_of
from sympo.evaluation.former_judges import modern
from sympo.identity import defaults, normalised, snake_case
from sympo.protocols.judging import Judge


class Untranslatable(ValueError):
    """Settings that look like those of a judge, and why it cannot be known."""


def is_former(judge: Judge, settings: Mapping[str, Any]) -> bool:
    """Whether verdicts under these settings are the judge's, although its key is another today.

    Its class may have moved, and settings at their defaults may be missing on either side. Raises
    Untranslatable.
    """
    then = modern(settings)
    if not _is_called(judge, str(then.get("judge"))):
        return False
    own = judge.key()
    known = {*own, *(one.name for one in fields(judge))}
    if unknown := sorted(then.keys() - known):
        raise Untranslatable(f"the class no longer has the setting {unknown[0]}")
    return _essential(judge, then) == _essential(judge, own)


def _essential(judge: Judge, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the name, defaults, and what cannot change a verdict."""
    usual = {name: normalised(value) for name, value in defaults(type(judge)).items()}
    left_out = {"judge", *judge.outside_identity}
    return {
        name: normalised(value)
        for name, value in settings.items()
        if name not in left_out and not (name in usual and normalised(value) == usual[name])
    }


def _is_called(judge: Judge, name: str) -> bool:
    """Whether a name in settings, or the Python path that older ones hold, is the judge's."""
    kind, (module, _, last) = type(judge), name.rpartition(".")
    if not module:
        return name == judge.stable_name
    if name == f"{kind.__module__}.{kind.__name__}":
        return True
    if judge.stable_name != snake_case(last) and kind.__name__ != last:
        return False
    if module in sys.modules:  # a class of that name may be another one
        return vars(sys.modules[module]).get(last, kind) is kind
    if spec_of(module):
        raise Untranslatable(f"{module} still exists, so its {last} may be another class")
    return True
