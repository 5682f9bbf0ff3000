"""The digest of source code: what is reachable from a few definitions, as syntax trees; nothing is imported.

Docstrings, comments, annotations, lines of imports and the words of errors do not count, and code is named by what it
defines: moving a definition to another module changes nothing.
"""

from __future__ import annotations

import ast
import functools
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.utils.digests import FOLDER, Remembered, stamp
from fne.utils.errors import UserError
from fne.utils.files import sha256_text
from fne.utils.modules import source_file

PACKAGES = Path(__file__).parents[2]
"""The folder that holds this package."""
MESSAGES = {"bad_input", "UserError", "Progress", "print", "warn"}
"""Calls whose arguments are words for people."""


DECLARED = {"name", "negatives", "reads", "estimates"}
"""Attributes of a rule's class that its config is checked by."""


@dataclass(frozen=True)
class Definition:
    """One name of a module.

    Args:
        tree: Digest of its syntax tree, without what does not count.
        names: Names that it uses, each as ``module:name``, or ``module`` for all of a module.
    """

    tree: str
    names: tuple[str, ...]


class Definitions:
    """Digests of code: each the first 12 hex digits of the SHA-256 of all that is reachable from some definitions.

    Args:
        root: The project's folder: modules of plug-ins may lie in it, and what was read is remembered there.
        counts: Whether the definitions of a module count, by its name.
    """

    def __init__(self, root: Path, counts: Callable[[str], bool]) -> None:
        self.root, self.counts = root, counts
        self._remembered = Remembered(
            root / FOLDER / f"{type(self).__name__.lower()}.json", made_by=str(stamp(Path(__file__)))
        )
        self._modules: dict[Path, dict[str, Definition]] = {}
        self._place = functools.cache(_place)

    def of(
        self, roots: Iterable[str], follow: Callable[[str], bool] = lambda target: True, files: Iterable[Path] = ()
    ) -> str:
        """Of some definitions.

        Args:
            roots: Each ``module:name``.
            follow: Whether a definition, ``module:name``, is followed.
            files: Whole modules of a plug-in besides.
        """
        texts = {f"{name} {tree}" for _, name, tree in self.reached(roots, follow, files)}
        self._remembered.save()
        return sha256_text("\n".join(sorted(texts)))[:12]

    def reached(
        self, roots: Iterable[str], follow: Callable[[str], bool] = lambda target: True, files: Iterable[Path] = ()
    ) -> Iterator[tuple[Path, str, str]]:
        """What some definitions use, they included: file, name and digest of each, as :meth:`of` counts them."""
        waiting, seen = list(roots), set()
        for file in files:
            whole = self._module(file)
            yield from ((file, name, item.tree) for name, item in whole.items())
            waiting += [name for item in whole.values() for name in item.names]
        while waiting:
            target = waiting.pop()
            module, _, name = target.partition(":")
            if target in seen or not (self.counts(module) and follow(target)):
                continue
            seen.add(target)
            place = self._place(module)
            inside = self._module(place) if place else {}
            for each in [name, ""] if name else list(inside):
                if place and each in inside:
                    yield place, each, inside[each].tree
                    waiting += inside[each].names
            if name and name not in inside and self._place(f"{module}.{name}"):
                waiting.append(f"{module}.{name}")

    def _module(self, file: Path) -> dict[str, Definition]:
        if file not in self._modules:
            content = self._remembered.get(file, read_definitions)
            self._modules[file] = {name: Definition(tree, tuple(names)) for name, (tree, names) in content.items()}
        return self._modules[file]


def local_modules(file: Path, module: str, root: Path) -> set[Path]:
    """A plug-in's file and what it imports, transitively, of its own package or below the project's folder."""
    result: set[Path] = set()
    waiting = [(file, module)]
    while waiting:
        place, name = waiting.pop()
        if place in result:
            continue
        result.add(place)
        tree = ast.parse(place.read_bytes())
        imported = {target for node in ast.walk(tree) for target in _imported(node, place, name)}
        for target in imported:
            for each in (target, target.rpartition(".")[0]):
                there = _local(each, module, root)
                if there is not None:
                    waiting.append((there, each))
    return result


def _local(module: str, plugin: str, root: Path) -> Path | None:
    if not module or module.partition(".")[0] in {"fne", *sys.stdlib_module_names}:
        return None
    try:
        place = source_file(module, module)
    except UserError:
        return None
    if place is None:
        return None
    installed = Path(sysconfig.get_paths()["purelib"]).resolve()
    place = place.resolve()
    own = module.partition(".")[0] == plugin.partition(".")[0]
    return place if own or (place.is_relative_to(root.resolve()) and not place.is_relative_to(installed)) else None


def _place(module: str) -> Path | None:
    """The file of a module of this package."""
    place = PACKAGES.joinpath(*module.split("."))
    if place.is_dir():
        place = place / "__init__"
    file = place.with_name(f"{place.name}.py")
    return file if file.is_file() else None


def read_definitions(file: Path) -> dict[str, tuple[str, list[str]]]:
    """What a module defines: by name the digest of its syntax tree and the names that it uses.

    The name "" stands for what the module does when it is imported, besides defining names.
    """
    tree = ast.parse(file.read_bytes(), filename=str(file))
    name = _name_of(file)
    imports = {alias: target for node in ast.walk(tree) for alias, target in _aliases(node, file, name)}
    everything = {target for alias, target in imports.items() if alias.startswith("* ")}
    bound: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for each in _names(node):
            bound.setdefault(each, []).append(node)
    definitions = {alias: ("", [target]) for alias, target in imports.items()}
    for each, nodes in bound.items():
        shape = _Shape(imports)
        trees = [ast.dump(kept) for node in nodes if (kept := shape.visit(node))]
        own = {f"{name}:{item}" for item in shape.names if item in bound and item != each}
        other = {imports[item] for item in shape.names if item in imports}
        definitions[each] = sha256_text(" ".join(trees)), sorted(everything | own | other | shape.targets)
    return definitions


def _name_of(file: Path) -> str:
    """The dotted name of a module of this package; of another, its file's stem."""
    if not file.is_relative_to(PACKAGES / "fne"):
        return file.stem
    parts = file.relative_to(PACKAGES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _names(node: ast.stmt) -> list[str]:
    """The names that a statement of a module gives a meaning to; "" where it does something else."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return []
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return []
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return []
    return [""]


def _aliases(node: ast.AST, file: Path, name: str) -> Iterator[tuple[str, str]]:
    """Names that an import binds, with what each means: ``module:name``, or ``module``."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                alias.asname or alias.name.partition(".")[0],
                alias.name if alias.asname else alias.name.partition(".")[0],
            )
    elif isinstance(node, ast.ImportFrom):
        module = _absolute(node, file, name)
        for alias in node.names:
            if alias.name == "*":
                yield f"* {module}", module
            else:
                yield alias.asname or alias.name, f"{module}:{alias.name}"


def _imported(node: ast.AST, file: Path, name: str) -> Iterator[str]:
    """Modules that an import may mean."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = _absolute(node, file, name)
        yield from (f"{module}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, file: Path, name: str) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


class _Shape(ast.NodeTransformer):
    """Leaves of a statement what counts, and notes the names that it uses."""

    def __init__(self, imports: Mapping[str, str]) -> None:
        self.imports = imports
        self.names: set[str] = set()
        self.targets: set[str] = set()

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=node.arg)

    def _function(self, node: Any) -> ast.AST:
        node.returns, node.type_comment = None, None
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Of a rule neither what it says of itself counts nor its defaults: a config gives every value that is read."""
        if any("name" in _names(line) for line in node.body if isinstance(line, ast.Assign)):
            node.body = [line for line in node.body if not {*_names(line)} & DECLARED] or [ast.Pass()]
            for line in node.body:
                if isinstance(line, ast.FunctionDef) and line.name == "__init__":
                    line.args.kw_defaults = [None] * len(line.args.kwonlyargs)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        value = self.visit(node.value) if node.value else None
        return ast.AnnAssign(target=self.visit(node.target), annotation=ast.Constant(None), value=value, simple=1)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(exc=self._bare(node.exc) if node.exc else None, cause=None)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.Assert(test=self.visit(node.test), msg=None)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        return self._bare(node) if name in MESSAGES else self.generic_visit(node)

    def _bare(self, node: ast.expr) -> ast.expr:
        return node.func if isinstance(node, ast.Call) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``module.name`` is the name, wherever the module lies."""
        target = self.imports.get(node.value.id) if isinstance(node.value, ast.Name) else None
        module = target.replace(":", ".") if target else ""
        if module.startswith("fne.") and _place(module):
            self.targets.add(f"{module}:{node.attr}")
            return ast.Name(id=node.attr, ctx=ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        self.names.add(node.id)
        return ast.Name(id=node.id, ctx=ast.Load())
