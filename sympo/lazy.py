"""Lazy imports of public names, which keep `import sympo` light."""

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from typing import Any


def loader(
    package: str, homes: Mapping[str, str], modules: Collection[str] = ()
) -> Callable[[str], Any]:
    """Build a package's `__getattr__`, which imports a public name from its module on first use.

    homes: the module of each name; a leading dot makes it relative to the package. modules: of the
        package, such as `losses`, which are imported in the same way.
    """

    def load(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name], package), name)

    return load
