"""``fne run``: paths of images, captions and encoders -> a study file, and Snakemake on it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.data.sources import may_hold_pictures
from fne.encoders.checkpoints import is_path
from fne.study import api, paths
from fne.study.study_file import STUDY_LEVEL
from fne.utils.errors import bad_input
from fne.utils.fields import flatten
from fne.utils.files import expanded, write_text
from fne.utils.names import STEM
from fne.utils.problems import Problems
from fne.utils.yaml_file import filled, flow, parse, read_mapping

TEMPLATE = Path("ablations", "templates", "custom.yaml")
COMMAND_LINE = "command line"
OPTIONS = {key: f"--{short.replace('_', '-')}" for short, key in paths.FLAT_KEYS.items() if key in paths.EXAMPLES}
"""By config key, what the command line calls it."""


def run(
    name: str | None,
    given: Mapping[str, str],
    variants: str | None,
    overrides: Mapping[str, Any],
    root: Path,
    snakemake: list[str],
) -> None:
    """Write the study file, unless it is there, and become Snakemake.

    Args:
        name: Of the study; None: that of the folder of images.
        given: Values of the keys of :data:`OPTIONS`; paths are relative to the present folder.
        variants: Of the study, between commas; None: those of the template.
        overrides: As of ``--set``: they are kept beside the results, not in the file.
        root: The project's folder.
        snakemake: Further words for Snakemake.

    Raises:
        UserError: Something is missing or cannot be used, before anything is written; or the file holds another study.
    """
    if not (root / "Snakefile").is_file():
        hint = "run it in the project's folder, or name that with --root"
        raise bad_input("holds no project: it has no Snakefile", file=root.absolute(), hint=hint)
    given = {key: _place(value, root, key) for key, value in given.items()}
    with contextlib.chdir(root):
        if name is None or given or variants:
            name = _write(name, given, variants, overrides)
        words = ["snakemake", *snakemake, "--config", f"study={name}"]
        if overrides:  # Snakemake reads what is in a mapping as text
            plain = bool | int | float | None
            texts = {key: value if isinstance(value, plain) else flow(value) for key, value in overrides.items()}
            words.append(f"set={flow(texts)}")
        print(f"$ {shlex.join(words)}", flush=True)
        os.execv(sys.executable, [sys.executable, "-m", *words])


def _place(value: str, root: Path, key: str) -> str:
    """A path as the study file has it, relative to the project where it lies there; a hub id stays."""
    of_encoder, path = key.startswith("encoders"), expanded(value, file=COMMAND_LINE, key=OPTIONS[key])
    if of_encoder and not is_path(value) and not path.is_dir():
        return value
    absolute, project = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    if not absolute.is_relative_to(project):
        return str(absolute)
    return f"{'./' if of_encoder else ''}{absolute.relative_to(project).as_posix()}"


def _named_after(given: Mapping[str, str]) -> str:
    """The name of the folder of images, or of that which holds it where it is but called so."""
    place = Path(given.get("data.images", given["data.annotations"]))
    folders = [*([place] if place.is_dir() else []), *Path(os.path.abspath(place)).parents]
    named = next(
        (folder.name for folder in folders if folder.name.lower() not in ("images", "data", "annotations")), ""
    )
    return re.sub(r"[^a-z0-9]+", "_", named.lower()).strip("_")


def _chosen(variants: str | None, template: Mapping[str, Any]) -> dict[str, Any]:
    """The variants of a study, and those with a part in it: of the template, where they are among them."""
    if variants is None:
        return {}
    names = [name.strip() for name in variants.split(",")]
    roles = {role: template[role] if template[role] in names else None for role in ("baseline", "method", "control")}
    return {"variants": names, **roles, "baseline": roles["baseline"] or names[0]}


def _write(name: str | None, given: Mapping[str, str], variants: str | None, overrides: Mapping[str, Any]) -> str:
    """Check the study, write its file, and return its name."""
    problems = Problems()
    for key, option in OPTIONS.items():
        inside = key == "data.images" and may_hold_pictures(given.get("data.annotations"))
        if key not in given and not inside:
            problems.report("not given", file=COMMAND_LINE, key=option, hint=f"such as {paths.EXAMPLES[key]}")
    problems.raise_any("the command line")
    name = name or _named_after(given)
    if not STEM.fullmatch(name) or name[0].isdigit():
        allowed = "a letter, then lower-case letters, digits and _, at most 100"
        hint = "--study NAME gives the study another name than its folder's"
        raise bad_input("not a study's name", file=COMMAND_LINE, key="--study", value=name, allowed=allowed, hint=hint)
    template = TEMPLATE.read_text(encoding="utf-8")
    chosen = _chosen(variants, parse(template, TEMPLATE))
    text = filled(template, {"title": name.replace("_", " ").capitalize(), **given, **chosen})
    file = Path("ablations", "studies", f"{name}.yaml")
    if not file.exists():
        level = {key: value for key, value in chosen.items() if key in STUDY_LEVEL}
        paths.check_supplied(api.load_study(name, {**given, **level, **overrides}, file=TEMPLATE))
        write_text(file, text)
        print(f"{file}: written")
        return name
    here, there = (flatten(content) for content in (parse(text, file), read_mapping(file)))
    if differs := sorted(key for key in {*here, *there} if here.get(key) != there.get(key)):
        hint = f"`fne run --study {name}` alone runs it as it is; another --study writes another file"
        raise bad_input(f"is another study: {', '.join(differs)} differ", file=file, hint=hint)
    return name
