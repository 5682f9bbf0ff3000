"""``clean``: prepared data, features, encoders, results and checkpoints that no study or series uses any more."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.study import paths
from fne.study.api import Study, blocks, list_studies, load_study, parse_block, study_files
from fne.study.model import DATASETS
from fne.utils.errors import UserError, bad_input
from fne.utils.files import read_json
from fne.utils.problems import SeveralErrors
from fne.utils.text import size

DATA = re.compile(rf"({'|'.join(DATASETS)})-[0-9a-f]{{8}}")
STORE = re.compile(rf"({'|'.join(paths.MODALITIES)})-.+-[0-9a-f]{{8}}")
PAIR = re.compile(r"draw\d+-[0-9a-f]{8}")
"""Names that the harness gives folders of data, features, pairs of encoders: what a person put beside them stays."""


@dataclass(frozen=True)
class Unused:
    """A folder, relative to the project's, and why no study uses it."""

    place: Path
    why: str


@dataclass(frozen=True)
class Uses:
    """What the studies of a project use.

    Args:
        places: Folders of data, features and encoders.
        jobs: Variant and block of every training job, by study; none of a series.
        unknown: Why it is not known what a study uses, by study: whatever may be its own counts as used.
        datasets: Of these the prepared data may be such a study's; ``""``: so may any data and encoders.
    """

    places: set[Path] = field(default_factory=set)
    jobs: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)

    def count(self, study: Study) -> None:
        """Count a study as it was loaded."""
        self.places.add(paths.data_folder(study))
        if study.regime == "head":
            self.places.update(paths.features_folder(study, modality) for modality in paths.MODALITIES)
        self._count_encoders(study)
        self.count_jobs(study)

    def count_jobs(self, study: Study) -> None:
        """Count a study's jobs alone, of which it is known even where its data are not."""
        jobs = ((variant, block) for variant in study.variants for block in blocks(study))
        self.jobs.setdefault(study.name, set()).update(jobs)

    def keep(self, name: str, why: str, declared: Study | None) -> None:
        """Keep whatever may be a study's own.

        Args:
            name: Of the study.
            why: It cannot be loaded.
            declared: What its file says, where only something is missing that its user must give.
        """
        self.unknown[name] = why
        self.datasets.add(str(declared.data["dataset"]) if declared else "")
        if declared:
            self._count_encoders(declared)

    def _count_encoders(self, study: Study) -> None:
        made = (modality for modality in paths.MODALITIES if paths.is_pretrained_here(study, modality))
        self.places.update(paths.encoder_folder(study, modality).parent for modality in made)

    def keeps(self, name: str) -> bool:
        """Is a name that of a study of which nothing is known, or of a member of such a series?"""
        return any(name == item or name.startswith(f"{item}--") for item in self.unknown)


def run(root: Path, delete: bool) -> str:
    """List what no study uses, and delete it on request.

    Args:
        root: The project's folder.
        delete: Delete what is listed, and nothing else.

    Returns:
        What a terminal shows.

    Raises:
        UserError: There are no studies, so that everything would be unused.
    """
    uses = _uses(root)
    result = [*_resources(root, uses), *_runs(root, "results", uses), *_runs(root, "scratch", uses)]
    sizes = [_bytes(root / item.place) for item in result]
    lines = [f"{size(count):>8}  {item.place}: {item.why}" for count, item in zip(sizes, result, strict=True)]
    for name, why in uses.unknown.items():
        lines.append(f"kept: whatever may be of study {name}, which cannot be loaded: {why}")
    tops = (top for top in ("resources", "results", "scratch") if (root / top).is_symlink())
    lines += [f"not looked into: {top}, which is a link" for top in tops]
    if not result:
        return "\n".join([*lines, "nothing is unused"])
    if delete:
        for item in result:
            shutil.rmtree(root / item.place)
    done = "deleted" if delete else "nothing was deleted; to delete them: fne clean --yes"
    return "\n".join([*lines, f"{len(result)} unused, {size(sum(sizes))}: {done}"])


def _uses(root: Path) -> Uses:
    """What all studies use, as their files state them and under the overrides that their results were made with."""
    if not study_files(root):
        problem, hint = "no studies: everything would be unused", "start inside the project, or give --root"
        raise bad_input(problem, file=root / "ablations" / "studies", hint=hint)
    uses = Uses(jobs={stem: set() for stem in study_files(root)})
    for name in list_studies(root):
        try:
            _count(uses, name, root)
        except (UserError, OSError) as error:
            why = error.messages[0] if isinstance(error, SeveralErrors) else str(error)
            uses.keep(name, why, _declared_study(name, root))
    return uses


def _count(uses: Uses, name: str, root: Path) -> None:
    """Count a study as its results were made, where that was kept, and as its file states it.

    Raises:
        UserError: It cannot be loaded in one of these ways; where the one gives what the other lacks, that is no error.
    """
    made = _overrides(name, root)
    if made is not None:
        uses.count(load_study(name, made, root))
    try:
        declared = load_study(name, root=root)
    except UserError:
        if made is None:
            raise
        uses.count_jobs(load_study(name, root=root, complete=False))
    else:
        uses.count(declared)


def _overrides(name: str, root: Path) -> dict[str, Any] | None:
    """What the command line set when a study's results were made; None where nothing says so."""
    file = root / "results" / name / "study.json"
    if not file.is_file():
        return None
    content = read_json(file)
    overrides = content.get("overrides") if isinstance(content, dict) else None
    if not isinstance(overrides, dict):
        raise bad_input("must be a mapping of keys to values", file=file, key="overrides", value=overrides)
    return overrides


def _declared_study(name: str, root: Path) -> Study | None:
    """A study without what only its user can give; None where its file, or what was kept of its results, is damaged."""
    try:
        return None if _overrides(name, root) is not None else load_study(name, root=root, complete=False)
    except UserError:
        return None


def _resources(root: Path, uses: Uses) -> Iterator[Unused]:
    for folder in [] if "" in uses.datasets else _folders(root / "resources"):
        place, match = folder.relative_to(root), DATA.fullmatch(folder.name)
        if match is None or match[1] in uses.datasets:
            continue
        if place not in uses.places:
            yield Unused(place, "no study reads data of this digest")
            continue
        for store in _folders(folder / "features"):
            if STORE.fullmatch(store.name) and store.relative_to(root) not in uses.places:
                yield Unused(store.relative_to(root), "no study reads features of these data by this encoder")
    for pair in [] if "" in uses.datasets else _folders(root / "resources" / "encoders"):
        if PAIR.fullmatch(pair.name) and pair.relative_to(root) not in uses.places:
            yield Unused(pair.relative_to(root), "no study reads encoders of this draw and recipe")


def _runs(root: Path, top: str, uses: Uses) -> Iterator[Unused]:
    """Folders of studies, and in those of studies that there are the folders of variants and of blocks of seeds."""
    no_study = "no study or series has this name"
    for folder in _folders(root / top):
        if uses.keeps(folder.name):
            continue
        elif folder.name not in uses.jobs:
            yield Unused(folder.relative_to(root), no_study)
        else:
            yield from _of_study(root, folder, uses.jobs[folder.name])


def _of_study(root: Path, folder: Path, jobs: set[tuple[str, str]]) -> Iterator[Unused]:
    for variant in _folders(folder):
        result = [block for block in _folders(variant) if _is_block(block.name)]
        own = [block for name, block in jobs if name == variant.name]
        if result and not own:
            yield Unused(variant.relative_to(root), f"study {folder.name} has no such variant")
        for block in result if own else []:
            if block.name not in own:
                why = f"study {folder.name} has no such block of seeds, but {', '.join(sorted(own))}"
                yield Unused(block.relative_to(root), why)


def _is_block(name: str) -> bool:
    try:
        return bool(parse_block(name))
    except UserError:
        return False


def _folders(place: Path) -> list[Path]:
    """Folders in a folder by name, without hidden ones and links; none in a link."""
    if place.is_symlink() or not place.is_dir():
        return []
    return sorted(item for item in place.iterdir() if item.is_dir() and not item.is_symlink() and item.name[0] != ".")


def _bytes(place: Path) -> int:
    """Size of all files below a folder; a link counts as itself."""
    return sum(os.lstat(os.path.join(folder, file)).st_size for folder, _, files in os.walk(place) for file in files)
