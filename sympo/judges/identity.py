"""The stable name of a judge's class, and which of its settings count."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any


def stable_name(cls: type, option: str | None = None) -> str:
    """The name of a class in keys, wherever its code lives: its own `identity`, which a subclass
    does not inherit, else the option that chose it, else its name in snake case."""
    declared: str | None = vars(cls).get("identity")
    return declared or option or snake_case(cls.__name__)


def snake_case(name: str) -> str:
    """`snake_case` of `SnakeCase`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def differing(part: Any) -> dict[str, Any]:
    """The settings of a dataclass that differ from its defaults, numbers normalised (1.0 is 1).

    Leaves out names in the class's `outside_identity` and those that begin with an underscore.
    """
    outside: frozenset[str] = type(part).outside_identity
    settings = {
        one.name: (normalised(getattr(part, one.name)), default(one))
        for one in fields(part)
        if one.name not in outside and not one.name.startswith("_")
    }
    return {name: value for name, (value, usual) in settings.items() if value != usual}


def default(setting: Field[Any]) -> Any:
    """The default of a field, normalised; `MISSING` if it has none."""
    if setting.default_factory is not MISSING:
        return normalised(setting.default_factory())
    return normalised(setting.default)


def normalised(value: Any) -> Any:
    """A plain value in the one form that is hashed."""
    if isinstance(value, Mapping):
        return {str(key): normalised(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [normalised(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits over settings."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
