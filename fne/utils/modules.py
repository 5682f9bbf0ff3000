"""Modules of Python by name: where they lie, without running them, and their classes."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
from pathlib import Path

from fne.utils.errors import bad_input


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
                inside = (spec.submodule_search_locations if spec else None) or []
                # by its last part: a folder without __init__.py would look for its parent among what runs
                spec = importlib.machinery.PathFinder.find_spec(parts[depth], inside)
        except ValueError:  # a module without a spec, such as __main__
            spec = None
        if spec is None:
            hint = "it is looked for among what is installed and in the project's folder"
            raise bad_input(f"cannot be imported: no module named {name!r}", key=target, hint=hint)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def load(target: str) -> type:
    """Import the class ``module:Class``.

    Raises:
        UserError: It cannot be imported; says why.
    """
    module, _, name = target.partition(":")
    try:
        result = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise bad_input(f"cannot be imported: {type(error).__name__}: {error}", key=target) from error
    loaded = getattr(result, name, None)
    if not inspect.isclass(loaded):
        classes = [key for key, value in vars(result).items() if inspect.isclass(value)]
        raise bad_input("no such class in this module", key=target, value=name, allowed=classes)
    return loaded
