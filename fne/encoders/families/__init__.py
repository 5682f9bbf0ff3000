"""Families of encoders, a file each: whose checkpoint it is, what it needs, how it embeds. Nothing else; torch-free.

A file that is added here is a family: no list names it.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path

from fne.encoders.declared import read_settings
from fne.encoders.families.backbone import Backbone
from fne.utils.errors import bad_input


@functools.cache
def families() -> tuple[type[Backbone], ...]:
    """The classes that the files of this folder make from :class:`Backbone`, and itself."""
    modules = [importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
    return tuple(
        each
        for module in modules
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Backbone) and each.__module__ == module.__name__
    )


def claim(folder: Path) -> Backbone:
    """The family of a checkpoint: of those that claim its config.json, the one that is made from the others.

    Args:
        folder: The checkpoint.

    Raises:
        UserError: config.json cannot be read, or two families claim it of which neither is made from the other.
    """
    config = read_settings(folder / "config.json")
    claims = [each for each in families() if each.matches(config, folder)]
    nearest = [each for each in claims if sum(issubclass(other, each) for other in claims) == 1]
    if len(nearest) > 1:
        problem = f"several families of encoders claim this checkpoint ({', '.join(each.__name__ for each in nearest)})"
        hint = "the more special of them must be a subclass of the others, or claim less"
        raise bad_input(problem, file=folder / "config.json", key="model_type", value=config.get("model_type"),
                        hint=hint)  # fmt: skip
    return nearest[0](folder, config)
