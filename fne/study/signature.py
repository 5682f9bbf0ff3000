"""What a plug-in's class says of itself, read from its source; imported only where that does not decide it."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

BASES = {
    ("fne.negatives.strategy", "Strategy"): "negatives",
    ("fne.losses.loss", "Loss"): "loss",
    ("fne.losses.dense", "Dense"): "loss",
}
"""The base classes of rules, and the section of the config that chooses them."""
ATTRIBUTES = ("negatives", "reads", "needs", "models_posterior")
"""Class attributes that a plug-in may set; see :class:`fne.study.plugins.Plugin`."""
NO_DEFAULT = object()


class Undecided(Exception):
    """The source alone does not tell; the class must be imported."""


@dataclass(frozen=True)
class Parameter:
    """A keyword of a class: its annotation as text ("" for none) and its default, or ``NO_DEFAULT``."""

    name: str
    annotation: str
    default: Any


@dataclass(frozen=True)
class Signature:
    """What a class says of itself.

    Args:
        file: The source file that defines it.
        section: ``negatives`` for a strategy, ``loss`` for a loss, None where it is neither.
        dense: It derives from ``fne.losses.dense.Dense``.
        summary: First line of its docstring.
        parameters: Its keyword-only parameters.
        others: Its other parameters, which cannot be options.
        attributes: Those of ``ATTRIBUTES`` that it sets.
    """

    file: Path
    section: str | None
    dense: bool
    summary: str
    parameters: tuple[Parameter, ...]
    others: tuple[str, ...]
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
            return _from_source(file, name)
        except Undecided:
            pass
    return _from_class(load(target), file)


def source_file(module: str, target: str) -> Path | None:
    """The Python file of a module, found without running it; None for a module without one.

    Raises:
        UserError: There is no such module.
    """
    parts, spec = module.split("."), None
    for depth in range(len(parts)):
        name = ".".join(parts[: depth + 1])
        try:
            if depth == 0:
                spec = importlib.util.find_spec(name)
            else:  # not by importlib.util, which would run the package
                inside = spec.submodule_search_locations or []
                # by its last part: a folder without __init__.py would look for its parent among what runs
                spec = importlib.machinery.PathFinder.find_spec(parts[depth], inside)
        except ValueError:  # a module without a spec, such as __main__
            spec = None
        if spec is None:
            hint = "it is looked for among what is installed and in the project's folder"
            raise bad_input(f"cannot be imported: no module named {name!r}", key=target, hint=hint)
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None


def load(target: str) -> type:
    """Import the class ``module:Class``.

    Raises:
        UserError: It cannot be imported; says why.
    """
    module, _, name = target.partition(":")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise bad_input(f"cannot be imported: {type(error).__name__}: {error}", key=target) from error
    loaded = getattr(found, name, None)
    if not inspect.isclass(loaded):
        classes = [key for key, value in vars(found).items() if inspect.isclass(value)]
        raise bad_input("no such class in this module", key=target, value=name, allowed=classes)
    return loaded


def _from_source(file: Path, name: str) -> Signature:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        raise bad_input(f"cannot be imported: {type(error).__name__}: {error}", file=file) from None
    bound = [node for node in tree.body if name in _binds(node)]
    if len(bound) != 1 or not isinstance(bound[0], ast.ClassDef):
        raise Undecided
    (node,) = bound
    imported = {
        alias.asname or alias.name: (line.module, alias.name)
        for line in tree.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    bases = [imported.get(base.id) if isinstance(base, ast.Name) else None for base in node.bases]
    if len(bases) != 1 or bases[0] not in BASES or node.decorator_list or node.keywords:
        raise Undecided
    attributes: dict[str, Any] = {"needs": ()}  # of the base class
    if BASES[bases[0]] == "negatives":
        attributes["models_posterior"] = False
    init: ast.FunctionDef | None = None
    for line in node.body:
        known = _binds(line) & {*ATTRIBUTES, "__init__"}
        if isinstance(line, ast.FunctionDef) and line.name == "__init__" and not line.decorator_list:
            init = line
        elif known:
            if not isinstance(line, ast.Assign | ast.AnnAssign) or line.value is None or "__init__" in known:
                raise Undecided
            attributes |= dict.fromkeys(known, _literal(line.value))
        elif not isinstance(line, ast.Expr | ast.FunctionDef | ast.Assign | ast.AnnAssign | ast.Pass):
            raise Undecided  # such as an `if`, which may define any of them
    parameters, others = _parameters(init.args) if init else ((), ())
    summary = (ast.get_docstring(node) or "").partition("\n")[0]
    dense = bases[0][1] == "Dense"
    return Signature(file, BASES[bases[0]], dense, summary, parameters, others, attributes)


def _binds(node: ast.stmt) -> set[str]:
    """Names that a statement gives a meaning to, at its own level or below it."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return names | {part.name for part in ast.walk(node) if isinstance(part, ast.ClassDef | ast.FunctionDef)}


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise Undecided from None


def _parameters(given: ast.arguments) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    others = [arg.arg for arg in [*given.posonlyargs, *given.args][1:]]
    others += [f"*{given.vararg.arg}"] if given.vararg else []
    others += [f"**{given.kwarg.arg}"] if given.kwarg else []
    parameters = tuple(
        Parameter(
            arg.arg,
            ast.unparse(arg.annotation) if arg.annotation else "",
            NO_DEFAULT if default is None else _literal(default),
        )
        for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    )
    return parameters, tuple(others)


def _from_class(loaded: type, file: Path | None) -> Signature:
    from fne.losses.dense import Dense
    from fne.losses.loss import Loss
    from fne.negatives.strategy import Strategy

    kinds = {"negatives": Strategy, "loss": Loss}
    section = next((name for name, base in kinds.items() if issubclass(loaded, base)), None)
    parameters, others = [], []
    for parameter in inspect.signature(loaded).parameters.values():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
            others.append(f"{stars}{parameter.name}")
            continue
        annotation = parameter.annotation
        if annotation is parameter.empty:
            annotation = ""
        elif not isinstance(annotation, str):
            annotation = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        default = NO_DEFAULT if parameter.default is parameter.empty else parameter.default
        parameters.append(Parameter(parameter.name, annotation, default))
    attributes = {name: getattr(loaded, name) for name in ATTRIBUTES if hasattr(loaded, name)}
    try:
        defined = Path(inspect.getsourcefile(loaded) or "")
    except TypeError:
        defined = file
    if defined is None or not defined.is_file():
        raise bad_input("has no source file, so that nothing could record which code ran", key=loaded.__qualname__)
    summary = (inspect.getdoc(loaded) or "").partition("\n")[0] if loaded.__doc__ else ""
    dense = issubclass(loaded, Dense)
    return Signature(defined, section, dense, summary, tuple(parameters), tuple(others), attributes)
