"""``clean``: prepared data, features, encoders, results and checkpoints that no study or series uses any more."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from fne.results.kept import open_study
from fne.study import paths
from fne.study.api import Study, blocks, list_studies, load_study, study_files
from fne.study.model import DATASETS
from fne.utils.errors import UserError, bad_input
from fne.utils.text import size

STUDY, BLOCK = re.compile(r"[a-z0-9].*"), re.compile(r"\d+([-_]\d+)*")
PLACES = {
    "resources/*": re.compile(rf"({'|'.join(DATASETS)})-[0-9a-f]{{8}}"),
    "resources/*/features/*": re.compile(rf"({'|'.join(paths.MODALITIES)})-.+-[0-9a-f]{{8}}"),
    "resources/encoders/*": re.compile(r"draw\d+-[0-9a-f]{8}"),
    **{f"{top}/*": STUDY for top in ("results", "scratch")},
    **{f"{top}/*/*/*": BLOCK for top in ("results", "scratch")},
}
"""Where this package makes folders, and what it calls them: what a person put beside them stays."""


def run(root: Path, delete: bool) -> str:
    """List what no study uses, and delete it on request.

    Args:
        root: The project's folder.
        delete: Delete what is listed, and nothing else.

    Returns:
        What a terminal shows.

    Raises:
        UserError: There are no studies, or one cannot be loaded, so that it is not known what it uses.
    """
    if not study_files(root):
        problem, hint = "no studies: everything would be unused", "start inside the project, or give --root"
        raise bad_input(problem, file=root / "ablations" / "studies", hint=hint)
    used = {Path(top, stem) for stem in study_files(root) for top in ("results", "scratch")}
    unknown: set[str] = set()
    for name in list_studies(root):
        made = open_study(name, {}, root, complete=False, refuse=False, tell=False)
        for study in (made, load_study(name, root=root, complete=False)):
            used.update(_jobs(study))
            try:
                used.update(_resources(study))
            except UserError:  # its corpus or its encoders are not on this machine
                unknown.add(str(study.data["dataset"]))
    used |= {parent for place in used for parent in place.parents}
    unused: list[Path] = []
    for pattern, name_of in PLACES.items():
        for folder in sorted(root.glob(pattern)):
            place = folder.relative_to(root)
            of_unknown = place.parts[0] == "resources" and place.parts[1].startswith(tuple(unknown))
            is_own = folder.is_dir() and folder.resolve() == root.resolve() / place  # behind no link
            if name_of.fullmatch(folder.name) and is_own and not of_unknown and not {place, *place.parents} & {*unused}:
                unused += [place] if place not in used else []
    sizes = [sum(file.lstat().st_size for file in (root / place).rglob("*")) for place in unused]
    lines = [f"{size(count):>8}  {place}" for count, place in zip(sizes, unused, strict=True)]
    lines += [
        f"kept: whatever may be data of {name}, which studies use and this machine lacks" for name in sorted(unknown)
    ]
    if delete:
        for place in unused:
            shutil.rmtree(root / place)
    done = "deleted" if delete else "nothing was deleted; to delete them: fne clean --yes"
    return "\n".join([*lines, f"{len(unused)} unused, {size(sum(sizes))}: {done}" if unused else "nothing is unused"])


def _jobs(study: Study) -> Iterator[Path]:
    for variant in study.variants:
        for block in blocks(study):
            yield paths.run_folder(study, variant, block)
            yield paths.scratch_folder(study, variant, block)


def _resources(study: Study) -> Iterator[Path]:
    yield paths.data_folder(study)
    for modality in paths.MODALITIES:
        if paths.is_pretrained_here(study, modality):
            yield paths.encoder_folder(study, modality)
        if study.regime == "head":
            yield paths.features_folder(study, modality)
