"""``fne list``: studies and variants, those of a sweep or a series on one line, that match a word or a pattern."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from fne.study.api import study_files
from fne.study.library import Library
from fne.study.series import read_factors
from fne.study.study_file import Loading
from fne.utils.errors import bad_input
from fne.utils.seeds import read_seeds
from fne.utils.text import clean, columns
from fne.utils.yaml_file import read_mapping

Line = tuple[str, ...]


def run(root: Path, requested: str | None = None, *, opened: bool = False) -> str:
    """The text that a terminal shows: id, title, size or parent.

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
        problem = "matches no study or variant"
        raise bad_input(problem, file="command line", key="FILTER", value=requested, allowed=names)
    return "\n\n".join(
        "\n".join([title, *(f"  {line}" for line in columns(lines))]) for title, lines in kept.items() if lines
    )


def _matches(line: Line, requested: str | None) -> bool:
    if requested is None:
        return True
    if any(letter in requested for letter in "*?["):
        return fnmatchcase(line[0], requested)
    return any(requested.casefold() in cell.casefold() for cell in line)


def _studies(root: Path, library: Library, opened: bool) -> Iterator[Line]:
    """What the files say; nothing is merged, which takes long."""
    for name, file in study_files(root).items():
        content = read_mapping(file)
        factors = read_factors(content, file)
        study = Loading(next(iter(factors.members)) if factors else name, file, library, {}, factors).study
        given = study.variants if isinstance(study.variants, list) else [study.variants]
        variants = [item for stem in given for item in ([stem] if "--" in str(stem) else library.members(str(stem)))]
        size = f"{len(variants)} variants, {len(read_seeds(study.seeds, file))} seeds"
        if factors and not opened:
            size = f"{len(factors.members)} studies of {size}"
        for member in factors.members if factors and opened else [name]:
            yield member, clean(study.title), size


def _variants(library: Library, opened: bool) -> Iterator[Line]:
    for stem in library.stems():
        members = list(library.members(stem).values())
        first = members[0]
        if opened or not first.swept:
            yield from ((item.id, clean(item.title), f"parent {item.parent}") for item in members)
        else:
            keys = " x ".join(key.rpartition(".")[2] for key in first.swept)
            title = clean(first.title.rpartition(" (")[0])
            yield f"{stem}--*", f"{title}: {len(members)} of {keys}", f"parent {first.parent}"
