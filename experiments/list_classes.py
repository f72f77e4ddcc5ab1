"""Reads what classes declare from their source, without importing them: most import torch."""

import __future__

import ast
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# the constructor of a loss's declared properties
PROPERTIES = "LossProperties"
# what a docstring says of values that are not allowed
_REFUSED = re.compile(r"[;,]? (BadArgument|BadInput) otherwise")


@dataclass(frozen=True, eq=False)
class ClassSource:
    """The source of a class and of its module."""

    module: "ModuleSource"
    node: ast.ClassDef

    @property
    def sentence(self) -> str:
        """The first paragraph of its docstring."""
        text = ast.get_docstring(self.node) or ""
        return " ".join(text.split("\n\n")[0].split())

    def notes(self, settings: Collection[str]) -> dict[str, str]:
        """What its docstring, or those of its bases, say of some settings: `name: meaning`."""
        found: dict[str, str] = {}
        for base in self.node.bases:
            if isinstance(base, ast.Name) and (source := self.module.find(base.id)):
                found |= source.notes(settings)
        names = "|".join(map(re.escape, settings))
        heads = re.compile(rf"(?:^|(?<=[.;] ))((?:{names})(?:, \w+)*): ")
        for paragraph in _entries(ast.get_docstring(self.node) or "") if names else ():
            _, *parts = heads.split(paragraph)
            for several, meaning in zip(parts[::2], parts[1::2], strict=True):
                meaning = _REFUSED.sub("", meaning).strip().rstrip(".;")
                found |= dict.fromkeys(several.split(", "), meaning)
        return found

    @property
    def declares_properties(self) -> bool:
        """Whether it declares the properties of a loss."""
        return any(_defines(line, "properties") for line in self.node.body)

    def defaults(self) -> dict[str, Any]:
        """The settings of a dataclass and their defaults, if these are plain values."""
        found = {}
        for line in self.node.body:
            match line:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value)):
                    found[name] = value
        return found

    def properties(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The declared properties of a loss at some settings; None if it declares none, or if they
        depend on more than its module says, or if it is not one of the project's, whose code runs
        only with `allow_external_targets`."""
        if self.module.name.partition(".")[0] != "sympo":
            return None
        itself = SimpleNamespace(**{**self.defaults(), **settings})
        line = next(line for line in self.node.body if _defines(line, "properties"))
        try:
            if isinstance(line, ast.FunctionDef):
                return dict(self.module.function(line)(itself))
            assert isinstance(line, ast.Assign)
            return dict(self.module.evaluate(line.value))
        except Exception:  # whatever the code needs
            return None


@dataclass(frozen=True, eq=False)
class ModuleSource:
    """The source of a module."""

    name: str
    tree: ast.Module
    is_package: bool

    def find(self, name: str) -> ClassSource | None:
        """The class that this module calls so, wherever it is defined."""
        for node in self._statements():
            if isinstance(node, ast.ClassDef) and node.name == name:
                return ClassSource(self, node)
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return find_class(f"{self._origin(node)}.{alias.name}")
        return None

    def evaluate(self, expression: ast.expr) -> Any:
        """The value of an expression of plain values, declared properties and functions."""
        code = compile(ast.Expression(expression), self.name, "eval")
        return eval(code, self._namespace(expression))

    def function(self, node: ast.FunctionDef) -> Any:
        """A function of this module, without its decorators."""
        bare = ast.FunctionDef(
            **{**dict(ast.iter_fields(node)), "decorator_list": []},
            lineno=node.lineno,
            col_offset=node.col_offset,
        )
        lines = ast.Module(body=[bare], type_ignores=[])
        # annotations name types that are not imported here
        flags = __future__.annotations.compiler_flag
        namespace = self._namespace(node)
        exec(compile(lines, self.name, "exec", flags), namespace)
        return namespace[node.name]

    def _namespace(self, used_by: ast.AST) -> dict[str, Any]:
        """Values of the names that some code uses, as far as this module defines them plainly."""
        used = {node.id for node in ast.walk(used_by) if isinstance(node, ast.Name)}
        found: dict[str, Any] = {PROPERTIES: dict} if PROPERTIES in used else {}
        for node in self._statements():
            if isinstance(node, ast.FunctionDef) and node.name in used and node is not used_by:
                found[node.name] = self.function(node)
            elif isinstance(node, ast.Assign) and used.intersection(_names(node)):
                match node.value:
                    case ast.Call(func=ast.Name(id=kind)):
                        found |= {name: _Declared(self.find(kind)) for name in _names(node)}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and _is_standard(node.module):
                exec(compile(ast.Module([node], []), self.name, "exec"), found)
        for name in used - found.keys():
            if source := self.find(name):
                found[name] = _Declared(source)
        return found

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return str(node.module)
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*kept, *filter(None, [node.module])])

    def _statements(self) -> Iterator[ast.stmt]:
        for node in self.tree.body:
            yield node
            if isinstance(node, ast.If):  # `if TYPE_CHECKING:`
                yield from node.body


class _Declared:
    """Stands for a loss, of which only the properties are known."""

    def __init__(self, source: ClassSource | None) -> None:
        self._source = source

    @property
    def properties(self) -> dict[str, Any] | None:
        return self._source.properties({}) if self._source else None


def find_class(target: str) -> ClassSource | None:
    """The source of a class by its path; None if there is none."""
    module, _, name = target.rpartition(".")
    source = _module(module)
    return source.find(name) if source else None


@cache
def _module(name: str) -> ModuleSource | None:
    place = Path(*name.split("."))
    for root in map(Path, sys.path):
        for file in (root / place / "__init__.py", root / place.with_suffix(".py")):
            if file.is_file():
                tree = ast.parse(file.read_text(encoding="utf-8"))
                return ModuleSource(name, tree, file.name == "__init__.py")
    return None


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == name
    return isinstance(node, ast.Assign) and name in _names(node)


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _is_standard(module: str | None) -> bool:
    return str(module).split(".")[0] in sys.stdlib_module_names


def _entries(text: str) -> Iterator[str]:
    """Lines of a docstring, each joined with the indented lines that continue it."""
    entry = ""
    for line in text.splitlines():
        if line.startswith(" ") and entry:
            entry += f" {line.strip()}"
        else:
            yield entry
            entry = line
    yield entry
