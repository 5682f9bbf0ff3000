"""What the class of a rule says of itself, read from its source; it is imported only where that cannot decide."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input
from fne.utils.fields import NONE
from fne.utils.modules import load, source_file

BASES = {
    ("fne.negatives.strategy", "Strategy"): "negatives",
    ("fne.losses.loss", "Loss"): "loss",
    ("fne.losses.dense", "Dense"): "loss",
}
"""The base classes of rules, and the section of the config that chooses them."""
ATTRIBUTES = ("name", "negatives", "reads", "needs", "estimates", "models_posterior")
"""Class attributes that a rule may set; see :class:`fne.negatives.registry.Entry`."""
LIGHT = ("typing", "pydantic", "fne.utils.fields", "fne.negatives.catalog")
"""Modules whose names an annotation may use and still be read from the source."""


class Undecided(Exception):
    """The source alone does not tell; the class must be imported."""


@dataclass(frozen=True)
class Parameter:
    """A keyword of a class: its annotation (None: it has none) and its default, or :data:`~fne.utils.fields.NONE`."""

    name: str
    annotation: Any
    default: Any


@dataclass(frozen=True)
class Signature:
    """What a class says of itself.

    Args:
        target: ``module:Class``.
        file: The source file that defines it.
        section: ``negatives`` for a strategy, ``loss`` for a loss, None where it is neither.
        dense: It derives from ``fne.losses.dense.Dense``.
        summary: First line of its docstring.
        parameters: Its keyword-only parameters.
        others: Its other parameters, which cannot be options.
        attributes: Those of ``ATTRIBUTES`` that it sets.
    """

    target: str
    file: Path
    section: str | None
    dense: bool = False
    summary: str = ""
    parameters: tuple[Parameter, ...] = ()
    others: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


def read(target: str) -> Signature:
    """Read ``module:Class``.

    Raises:
        UserError: No such module or class, a syntax error, or (where it must be imported) an error on import.
    """
    module, _, name = target.partition(":")
    file = source_file(module, target)
    if file is not None:
        try:
            return _Source(file, module).signature(name)
        except Undecided:
            pass
    return _from_class(load(target), target, file)


def named_in(file: Path, module: str) -> list[Signature]:
    """The classes of a module of this package that have a ``name``: its rules."""
    if not re.search(r'^    name = "', file.read_text(encoding="utf-8"), re.MULTILINE):
        return []
    source = _Source(file, module)
    names = [node.name for node in source.tree.body if isinstance(node, ast.ClassDef) if "name" in _bound_in(node)]
    try:
        return [source.signature(name) for name in names]
    except Undecided:
        problem = "a rule of this package must be told by its source alone: one base class, constants, types"
        raise bad_input(problem, file=file, value=", ".join(names)) from None


class _Source:
    """A module as its source tells it.

    Args:
        file: The file.
        module: Its dotted name.
    """

    def __init__(self, file: Path, module: str) -> None:
        self.file, self.module = file, module
        try:
            self.tree = ast.parse(file.read_bytes(), filename=str(file))
        except (SyntaxError, ValueError) as error:
            raise bad_input(f"cannot be imported: {type(error).__name__}: {error}", file=file) from None
        self.imported = {
            alias.asname or alias.name: (line.module or "", alias.name)
            for line in self.tree.body
            if isinstance(line, ast.ImportFrom)
            for alias in line.names
        }

    def signature(self, name: str) -> Signature:
        """Of one class."""
        node = self._only(name)
        if not isinstance(node, ast.ClassDef) or node.decorator_list or node.keywords or len(node.bases) != 1:
            raise Undecided
        base = node.bases[0]
        parent = self.imported.get(base.id) if isinstance(base, ast.Name) else None
        if parent in BASES:
            attributes: dict[str, Any] = {"needs": ()}  # of the base class
            if BASES[parent] == "negatives":
                attributes["models_posterior"] = False
            parameters: tuple[Parameter, ...] = ()
            others: tuple[str, ...] = ()
            dense, section = parent[1] == "Dense", BASES[parent]
        else:
            above = self._above(base, parent, name)
            attributes, parameters, others = dict(above.attributes), above.parameters, above.others
            dense, section = above.dense, above.section or ""
        for line in node.body:
            known = _binds(line) & {*ATTRIBUTES, "__init__"}
            if isinstance(line, ast.FunctionDef) and line.name == "__init__" and not line.decorator_list:
                parameters, others = self._parameters(line.args)
            elif known:
                if not isinstance(line, ast.Assign | ast.AnnAssign) or line.value is None or "__init__" in known:
                    raise Undecided
                attributes |= dict.fromkeys(known, _literal(line.value))
            elif not isinstance(line, ast.Expr | ast.FunctionDef | ast.Assign | ast.AnnAssign | ast.Pass):
                raise Undecided  # such as an `if`, which may define any of them
        summary = (ast.get_docstring(node) or "").partition("\n")[0]
        target = f"{self.module}:{name}"
        return Signature(target, self.file, section, dense, summary, parameters, others, attributes)

    def _above(self, base: ast.expr, imported: tuple[str, str] | None, name: str) -> Signature:
        """Of the class that another one derives from, a rule of this module or of another one of this package."""
        if imported is None and isinstance(base, ast.Name) and base.id != name:
            return self.signature(base.id)
        module, above = imported or ("", "")
        if module.partition(".")[0] == "fne" and (file := source_file(module, module)):
            return _Source(file, module).signature(above)
        raise Undecided

    def _only(self, name: str) -> ast.stmt:
        """The one statement that gives a name its meaning."""
        bound = [node for node in self.tree.body if name in _binds(node)]
        if len(bound) != 1:
            raise Undecided
        return bound[0]

    def _parameters(self, given: ast.arguments) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
        others = [arg.arg for arg in [*given.posonlyargs, *given.args][1:]]
        others += [f"*{given.vararg.arg}"] if given.vararg else []
        others += [f"**{given.kwarg.arg}"] if given.kwarg else []
        parameters = tuple(
            Parameter(
                arg.arg,
                self._annotation(arg.annotation) if arg.annotation else None,
                NONE if default is None else _literal(default),
            )
            for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        )
        return parameters, tuple(others)

    def _annotation(self, node: ast.expr) -> Any:
        """What an annotation means, if it uses nothing but types, names of :data:`LIGHT` and constants."""
        names: dict[str, Any] = {"float": float, "int": int, "bool": bool, "str": str}
        for one in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} - {*names}:
            if one in self.imported:
                module, name = self.imported[one]
                if module not in LIGHT:
                    raise Undecided
                names[one] = getattr(importlib.import_module(module), name)
            else:
                bound = self._only(one)
                if not isinstance(bound, ast.Assign):
                    raise Undecided
                names[one] = _literal(bound.value)
        try:
            code = compile(ast.Expression(node), str(self.file), "eval")
            found = eval(code, {"__builtins__": {}}, names)  # noqa: S307 - constants and the names above alone
        except Exception as error:
            problem = f"an annotation cannot be read: {type(error).__name__}: {error}"
            raise bad_input(problem, file=self.file, key=f"line {node.lineno}", value=ast.unparse(node)) from None
        if isinstance(found, str):  # in quotes: importing resolves it
            raise Undecided
        return found


def _binds(node: ast.stmt) -> set[str]:
    """Names that a statement gives a meaning to, at its own level or below it."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return names | {part.name for part in ast.walk(node) if isinstance(part, ast.ClassDef | ast.FunctionDef)}


def _bound_in(node: ast.ClassDef) -> set[str]:
    return {name for line in node.body if isinstance(line, ast.Assign | ast.AnnAssign) for name in _binds(line)}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise Undecided from None


def _from_class(loaded: type, target: str, file: Path | None) -> Signature:
    bases = [(base.__module__, base.__name__) for base in loaded.__mro__]
    section = next((BASES[base] for base in bases if base in BASES), None)
    try:
        hints = typing.get_type_hints(vars(loaded).get("__init__", loaded.__init__), include_extras=True)  # type: ignore[misc]
    except Exception as error:
        problem = f"its annotations cannot be read: {type(error).__name__}: {error}"
        raise bad_input(problem, file=file, key=target) from None
    parameters, others = [], []
    for parameter in inspect.signature(loaded).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            others.append(str(parameter).partition(":")[0].partition("=")[0].strip())
            continue
        default = NONE if parameter.default is parameter.empty else parameter.default
        parameters.append(Parameter(parameter.name, hints.get(parameter.name), default))
    attributes = {name: getattr(loaded, name) for name in ATTRIBUTES if hasattr(loaded, name)}
    try:
        defined: Path | None = Path(inspect.getsourcefile(loaded) or "")
    except TypeError:
        defined = file
    if defined is None or not defined.is_file():
        raise bad_input("has no source file, so that nothing could record which code ran", key=loaded.__qualname__)
    summary = (inspect.getdoc(loaded) or "").partition("\n")[0] if loaded.__doc__ else ""
    dense = any(base in BASES and base[1] == "Dense" for base in bases)
    return Signature(target, defined, section, dense, summary, tuple(parameters), tuple(others), attributes)
