"""Finds classes by their Python paths, without running code that only a file asks for.

Importing a module runs it. A path from a config that was checked may be imported; one that a run
folder or a stage recorded may only name the project, or a module that is imported already.
"""

import ast
import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, cast

from sympo.moved import MOVED

PROJECT = ("sympo", "experiments", "hydra_plugins")


def class_at(path: str) -> Any:
    """The class at a Python path, current or former (`MOVED`); raises ImportError."""
    module, _, name = MOVED.get(path, path).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (AttributeError, ValueError) as error:
        raise ImportError(f"class {path} does not exist") from error


def in_project(path: str) -> bool:
    """Whether a Python path leads to the project's own code."""
    return MOVED.get(path, path).split(".")[0] in PROJECT


def recorded_class(path: str) -> Any:
    """The class at a path that a file recorded; raises ImportError, also for a class whose module
    would have to be imported from outside the project."""
    if not in_project(path) and path.rpartition(".")[0] not in sys.modules:
        raise ImportError(f"class {path} is not in use")
    return class_at(path)


def is_defined(path: str) -> bool:
    """Whether a class of a recorded path exists, read from its source if it is not imported."""
    try:
        recorded_class(path)
        return True
    except ImportError:
        module, _, name = path.rpartition(".")
        return name in _defined_in(module)


def spec_of(module: str) -> ModuleSpec | None:
    """Where a module is, found without importing its parents; None if it does not exist."""
    spec, places = None, cast(list[str] | None, None)
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        spec = PathFinder.find_spec(".".join(names[:depth]), places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or [])
    return spec


def _defined_in(module: str) -> set[str]:
    """The classes in the source of a module, which is not run."""
    spec = spec_of(module)
    try:
        tree = ast.parse(Path(str(spec and spec.origin)).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return set()
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
