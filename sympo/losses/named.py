"""Losses by name: every class derived from `MarginLoss` with an identity, a user's included."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from sympo.losses.base import MarginLoss
from sympo.protocols.models import Loss
from sympo.types import BadInput


def by_name(name: str, **settings: Any) -> Loss:
    """The loss of this identity, e.g. `by_name("rdpo", assumed_rate=0.1)`.

    Case and underscores do not matter; a loss of your own is found once its module is imported.
    BadInput if the name or a setting is unknown, or a setting is missing.
    """
    return resolved(name, settings)


def resolved(
    loss: Loss | type | str, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> Loss:
    """A loss given by name, by class, or as an instance, which takes no further settings.

    defaults: values for settings that are not given, ignored by losses that do not take them.
    BadInput if this is not a loss, or a setting is unknown or missing.
    """
    if isinstance(loss, str):
        kind: type = _kind(loss)
    elif isinstance(loss, type) and issubclass(loss, MarginLoss):
        kind = loss
    elif isinstance(loss, Loss) and not isinstance(loss, type):
        if settings:
            raise BadInput(
                f"{', '.join(sorted(settings))} is not allowed beside loss={loss!r}: settings are "
                "for a loss given by name or class"
            )
        return loss
    else:
        raise BadInput(_unknown(loss))
    if inspect.isabstract(kind):
        raise BadInput(_unknown(loss))
    called = repr(loss) if isinstance(loss, str) else kind.__name__
    return _made(kind, called, settings, defaults or {})


def _made(
    kind: type, called: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Loss:
    takes = inspect.signature(kind).parameters
    given = {key: value for key, value in defaults.items() if key in takes} | dict(settings)
    for key in given.keys() - takes.keys():
        raise BadInput(
            f"{key}={given[key]!r} is not allowed: loss={called} takes "
            f"{', '.join(takes) or 'no settings'}"
        )
    for key, setting in takes.items():
        if setting.default is setting.empty and key not in given:
            raise BadInput(f"{key} is not set: loss={called} needs it")
    made: Loss = kind(**given)
    return made


def _kind(name: str) -> type[MarginLoss]:
    kinds = {_plain(vars(kind)["identity"]): kind for kind in _kinds()}
    if _plain(name) not in kinds:
        raise BadInput(_unknown(name))
    return kinds[_plain(name)]


def _kinds(base: Any = MarginLoss) -> Iterator[type[MarginLoss]]:
    """Classes that declare an identity, oldest first, so that a redefined one wins."""
    for kind in base.__subclasses__():
        # not an inherited identity, which is the base's
        if "identity" in vars(kind) and not inspect.isabstract(kind):
            yield kind
        yield from _kinds(kind)


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _unknown(loss: object) -> str:
    names = sorted(vars(kind)["identity"] for kind in _kinds())
    return f"loss={loss!r} is not known: use a MarginLoss or one of {', '.join(names)}"
