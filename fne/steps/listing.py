"""``fne list``: studies and variants, those of a sweep or a series on one line, that match a word or a pattern."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from fne.study.api import study_files
from fne.study.library import Library
from fne.study.series import read_factors
from fne.study.study_file import StudyFile
from fne.utils.errors import bad_input
from fne.utils.models import read_section
from fne.utils.problems import Problems
from fne.utils.seeds import read_seeds
from fne.utils.text import clean, columns
from fne.utils.yaml_file import read_mapping

Line = tuple[str, ...]
WIDEST = 44
NARROWEST = 30
"""Most characters of a title on a terminal, and least of a question."""


def run(root: Path, requested: str | None = None, *, opened: bool = False) -> str:
    """The text that a terminal shows: id, title, size or parent, and on a wide terminal the question.

    Args:
        root: The project's folder.
        requested: A word that stands in one of these, in capitals or not, or a pattern of an id, such as ``fne_*``.
        opened: Show each variant of a sweep, and each study of a series.

    Raises:
        UserError: A file is damaged, or nothing matches.
    """
    library = Library(root)
    library.base  # noqa: B018 - reading it checks it
    opened = opened or "--" in (requested or "")
    every = {"studies": list(_studies(root, library, opened)), "variants": list(_variants(library, opened))}
    kept = {title: [line for line in lines if _matches(line, requested)] for title, lines in every.items()}
    if not any(kept.values()):
        names = [line[0] for lines in every.values() for line in lines]
        raise bad_input(
            "matches no study or variant", file="command line", key="FILTER", value=requested, allowed=names
        )
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return "\n\n".join("\n".join([title, *_aligned(lines, width)]) for title, lines in kept.items() if lines)


def _matches(line: Line, requested: str | None) -> bool:
    if requested is None:
        return True
    if any(letter in requested for letter in "*?["):
        return fnmatchcase(line[0], requested)
    return any(requested.casefold() in cell.casefold() for cell in line)


def _studies(root: Path, library: Library, opened: bool) -> Iterable[Line]:
    """What the files say; nothing is merged, which takes long."""
    for name, file in study_files(root).items():
        content, problems = read_mapping(file), Problems()
        study = read_section(StudyFile, content, file, problems)
        problems.raise_any(str(file))
        assert study is not None
        given = study.variants if isinstance(study.variants, list) else [study.variants]
        variants = [item for stem in given for item in ([stem] if "--" in str(stem) else library.members(str(stem)))]
        seeds, factors = len(read_seeds(study.seeds, file)), read_factors(content, file)
        size = f"{len(variants)} variants, {seeds} seed{'s' * (seeds > 1)}"
        if factors and not opened:
            size = f"{len(factors.members)} studies of {size}"
        for member in factors.members if factors and opened else [name]:
            yield member, clean(study.title), size, clean(study.question)


def _variants(library: Library, opened: bool) -> Iterable[Line]:
    for stem in library.stems():
        members = list(library.members(stem).values())
        first, swept = members[0], len(members) > 1
        if opened or not swept:
            yield from ((item.id, clean(item.title), f"parent {item.parent}", clean(item.question)) for item in members)
        else:
            keys = " x ".join(key.rpartition(".")[2] for key in first.swept)
            title = clean(first.title.rpartition(" (")[0])
            yield f"{stem}--*", f"{title}: {len(members)} of {keys}", f"parent {first.parent}", clean(first.question)


def _aligned(lines: Sequence[Line], width: int | None) -> list[str]:
    """Columns; on a terminal long titles are cut, lines end at its edge, and the question is shown where it fits."""
    if width is None:
        return [f"  {line}" for line in columns(lines)]
    short = [tuple(_cut(cell, WIDEST) if place else cell for place, cell in enumerate(line[:-1])) for line in lines]
    left = width - 2 - max(map(len, columns(short)))
    if left >= NARROWEST:
        short = [(*line, whole[-1]) for line, whole in zip(short, lines, strict=True)]
    return [_cut(f"  {line}", width) for line in columns(short)]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
