"""Names of variants and studies, which name files and folders too, and of the members of a sweep or a series."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fne.utils.errors import UserError, bad_input
from fne.utils.files import sha256_text

RANDOM_FACTORS = {"encoders.draw": "encoder draw", "data.seed": "world", "tuned.draw": "tuning draw"}
"""Factors of a study whose values are a sample of many, and what each is called."""
STEM = re.compile(r"[a-z0-9][a-z0-9_]{0,99}")
LONGEST, MOST = 200, 1000
"""Characters of an id, which names a folder (file systems take 255), and members of a sweep or study with factors."""


def named_files(folder: Path) -> dict[str, Path]:
    """Files of a folder that a name can mean, by stem, in order."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml")) if STEM.fullmatch(path.stem)}


def unknown(kind: str, name: str, folder: Path, allowed: Iterable[str], **where: Any) -> UserError:
    """The error that no ``kind`` is called ``name``; or that a file is, and cannot be."""
    misnamed = next((path for path in folder.glob("*.yaml") if path.stem == name), None)
    if misnamed:
        allowed = "lower-case letters, digits and _, at most 100; not 'base'"
        return bad_input(f"not a {kind}'s name", file=misnamed, value=name, allowed=allowed)
    hint = f"each is a file of {folder}"
    return bad_input(f"unknown {kind}", value=name, allowed=allowed, hint=hint, **where)


def points_of(axes: Mapping[str, Sequence[Any]], file: Path, key: str) -> list[dict[str, Any]]:
    """Every combination of the values of some keys.

    Raises:
        UserError: There are more than anybody runs; names ``file`` and ``key``.
    """
    if (count := math.prod(map(len, axes.values()))) > MOST:
        raise bad_input("too many combinations", file=file, key=key, value=count, allowed=f"at most {MOST}")
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def member_id(stem: str, point: Mapping[str, Any], file: Path) -> str:
    """The id of one member of a sweep or study with factors: the file stem, with ``--<key>-<value>`` per key.

    Raises:
        UserError: No folder can be called that; names ``file``.
    """
    name = "--".join([stem, *(f"{key.replace('.', '_')}-{slug(value)}" for key, value in point.items())])
    if len(name) > LONGEST:
        problem = f"the name of a member would be {len(name)} characters long, too long for a folder"
        raise bad_input(problem, file=file, value=name, allowed=f"at most {LONGEST}")
    return name


def member_title(title: str, point: Mapping[str, Any]) -> str:
    """The title of one member of a sweep or of a study with factors."""
    words = [f"{RANDOM_FACTORS.get(key) or key.rpartition('.')[2]} {show(value)}" for key, value in point.items()]
    return f"{title} ({', '.join(words)})" if words else title


def slug(value: Any) -> str:
    """A value as a part of a file name; of a long one the beginning, and a digest."""
    text = re.sub(r"[^a-z0-9.+-]+", "_", show(value).lower())
    return text if len(text) <= 48 else f"{text[:32]}-{sha256_text(show(value))[:8]}"


def show(value: Any) -> str:
    """A value as a person writes it."""
    return "null" if value is None else str(value)
