"""Where everything lies, relative to the project's folder (torch-free). Every other room asks here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fne.data.identity import corpus_digest, require_matched, training_pairs
from fne.data.sources import MODALITIES as MODALITIES
from fne.data.sources import SOURCES, annotation_files, may_hold_pictures
from fne.data.sources import SPLITS as SPLITS
from fne.data.text_files import say_nearest
from fne.encoders.checkpoints import encoder_digest, find, is_path
from fne.encoders.shipped import GRID, Recipe, folder
from fne.study.model import PATH_KEYS, RATINGS_KEY, RELEVANCE_KEYS
from fne.study.series import Series
from fne.study.study import Study, data_section, resolve
from fne.utils.errors import UserError
from fne.utils.fields import canonical, flatten
from fne.utils.files import expanded, sha256_text
from fne.utils.problems import Problems


def data_id(study: Study) -> str:
    """Name of the prepared data: ``<dataset>-<8 hex digits>`` of the data section and of the corpus itself.

    It is the same wherever the files lie, and another one when annotations, judgements, or the name or size of a
    picture change.

    Raises:
        UserError: The corpus is not given, or cannot be read.
    """

    def make() -> str:
        flat = {f"data.{key}": value for key, value in flatten(data_section(study)).items()}
        kept = {key: value for key, value in flat.items() if key not in PATH_KEYS}
        if study.data["dataset"] != "scenes":
            kept["corpus"] = corpus_digest(study.data, study.root)
        return f"{study.data['dataset']}-{sha256_text(canonical(kept))[:8]}"

    return _once(study, "data", make)


def _once(study: Study, key: str, make: Callable[[], str]) -> str:
    """What the files of a study say, worked out once: rules ask for it again and again."""
    if key not in study.known:
        study.known[key] = make()
    return study.known[key]


def data_folder(study: Study) -> Path:
    """Prepared data: manifest, truth, pictures (of scenes) and features."""
    return Path("resources") / data_id(study)


def prepared(study: Study, root: Path) -> Path | None:
    """The folder of the prepared data; None where they, or the corpus that names them, are not on this machine."""
    try:
        folder = root / data_folder(study)
    except UserError:
        return None
    return folder if (folder / "manifest.json").is_file() else None


FLAT_KEYS = {
    "images": "data.images",
    "annotations": "data.annotations",
    "crowdflower": "data.judgements.crowdflower",
    "expert": "data.judgements.expert",
    **{key.rpartition(".")[2]: key for key in RELEVANCE_KEYS},
    "sits": "audit.sits",
    "image_encoder": "encoders.image.checkpoint",
    "text_encoder": "encoders.text.checkpoint",
}
"""Short names for ``snakemake --config`` and the config keys they stand for."""
_PATTERN = re.compile(r"\{.*\}")


def how_to_give(key: str) -> str:
    """Tell how a value that only the user knows is given on either command line."""
    short = next((name for name, dotted in FLAT_KEYS.items() if dotted == key), None)
    snakemake = f"snakemake --config {short}=..., or " if short else ""
    return f"{snakemake}fne ... --set {key}=..."


EXAMPLES = {
    "data.annotations": "data/my_corpus/pairs.csv, with columns image, caption and split",
    "data.images": "data/my_corpus/images",
    "encoders.image.checkpoint": "google/vit-base-patch16-224",
    "encoders.text.checkpoint": "sentence-transformers/all-MiniLM-L6-v2",
}
"""What only the user can know, and a value that each may have."""


def check_named(flat: Mapping[str, Any], where: str | Path) -> None:
    """Check that what only the user can know (paths of a corpus, encoder checkpoints) was given.

    Raises:
        UserError: Lists every missing value, with an example and how to give it.
    """
    problems = Problems()
    for key, example in EXAMPLES.items():
        value, of_encoder = flat.get(key), key.startswith("encoders")
        of_scenes = value == "scenes" and flat["data.dataset"] != "scenes"
        if key not in flat or (value is not None and not of_scenes):
            continue
        if key == "data.images" and may_hold_pictures(flat["data.annotations"]):
            continue
        hint = f"such as {example}; give it: {how_to_give(key)}"
        if key == "data.images" and flat["data.dataset"] in SOURCES:
            hint += f"; to get them: {SOURCES[flat['data.dataset']].pictures}"
        problem = f"not given: this study needs {'a folder or hub id' if of_encoder else 'a path'}"
        if of_scenes:
            problem = f"is pretrained on data.dataset 'scenes' only, not {flat['data.dataset']!r}"
        problems.report(problem, file=where, key=key, value=value, hint=hint)
    problems.raise_any(str(where))


def check_supplied(study: Study) -> None:
    """Check all that a user supplies, as far as it is named and on this machine: files, encoders, size of batches.

    Raises:
        UserError: Lists everything that cannot be used.
    """
    problems = Problems()
    with problems.collect():
        check_given(study)
        if study.data.get("annotations", "scenes"):
            check_batches(study)
    for modality in MODALITIES:
        section = resolve(study, study.variants[0])["encoders"][modality]
        if section["checkpoint"] not in (None, "scenes") and expanded(section["checkpoint"]).is_dir():
            with problems.collect():
                find(section, modality)
    problems.raise_any(f"study {study.name!r}")


def check_given(study: Study) -> None:
    """Check that the files and folders a user gave by path are there; what is in them is checked on reading.

    Raises:
        UserError: Lists everything that is not there.
    """
    problems, flat = Problems(), flatten(resolve(study, study.variants[0]))
    for key in (*PATH_KEYS, *(f"encoders.{modality}.checkpoint" for modality in MODALITIES)):
        value, of_encoder = flat.get(key), key.startswith("encoders.")
        if value is None or (of_encoder and not is_path(value)):
            continue
        is_folder = of_encoder or key in ("data.images", *RELEVANCE_KEYS, RATINGS_KEY)
        places = annotation_files(value) if key == "data.annotations" else [expanded(value)]
        if not all(place.is_dir() if is_folder else place.exists() for place in places):
            hint = say_nearest(expanded(value), f"give it: {how_to_give(key)}")
            problems.report(f"no such {'folder' if is_folder else 'file'}", key=key, value=value, hint=hint)
        elif not of_encoder and key != "data.images" and any(_PATTERN.search(str(place)) for place in places):
            problem, hint = "Snakemake reads {...} in the name of a file as a pattern", "name the file otherwise"
            problems.report(problem, key=key, value=value, hint=hint)
    given = dict.fromkeys(relevance_files(study), "evaluation.relevance") | dict.fromkeys(
        ratings_files(study), RATINGS_KEY
    )
    for file, key in given.items():
        if not file.is_file() and file.parent.is_dir():
            hint = say_nearest(file, "docs/how-to/data.md says where to get it")
            problems.report("no such file", file=file, key=key, hint=hint)
    problems.raise_any(f"study {study.name!r}")


def check_batches(study: Study) -> None:
    """Check that an epoch of every variant has as many pairs as a batch.

    Raises:
        UserError: Lists the variants whose batch is larger; or the annotations cannot be read.
    """
    problems, pairs, variants = Problems(), training_pairs(study.data, study.root), dict[tuple[str, int], list[str]]()
    for variant, flat in study.configs.items():
        variants.setdefault((flat["train.epoch_unit"], flat["train.batch_size"]), []).append(variant)
    for (unit, size), names in variants.items():
        if size > pairs[unit]:
            problem = f"is more than an epoch over the {unit} of the training split has ({', '.join(names)})"
            hint = "write set: {train: {batch_size: ...}} in the study, or --set train.batch_size=..."
            at = {"key": "train.batch_size", "value": size, "allowed": f"at most {pairs[unit]}"}
            problems.report(problem, hint=hint, **at)
    problems.raise_any(f"study {study.name!r}")


def check_matched(study: Study) -> None:
    """Check that the relevance and rating files of a study are about its corpus.

    Raises:
        UserError: One is not.
    """
    config, files = resolve(study, study.variants[0]), [*relevance_files(study), *ratings_files(study)]
    relevance = {name: folder for name, folder in config["evaluation"]["relevance"].items() if folder is not None}
    if files and study.data.get("annotations"):
        require_matched(study.data, relevance, config["audit"]["sits"], files, study.root)


def manifest(study: Study) -> Path:
    """Ids, captions and splits of the prepared data."""
    return data_folder(study) / "manifest.json"


def truth(study: Study, split: str) -> Path:
    """What is known to be relevant in a split."""
    return data_folder(study) / f"truth.{split}.npz"


def relevance_files(study: Study) -> list[Path]:
    """The relevance files that a study gives, which ``rank`` reads for the test split."""
    relevance = resolve(study, study.variants[0])["evaluation"]["relevance"]
    given = {protocol: folder for protocol, folder in relevance.items() if folder is not None}
    if not given:
        return []
    from fne.data.coco_relevance import files  # brings numpy

    return [file for protocol, folder in given.items() for file in files(folder, protocol).values()]


def ratings_files(study: Study) -> list[Path]:
    """The rating files that a study gives, which ``calibrate`` and ``audit`` read."""
    folder = resolve(study, study.variants[0])["audit"]["sits"]
    if folder is None:
        return []
    from fne.data.cxc_sits import files  # brings numpy

    return list(files(folder).values())


def encoder(study: Study, modality: str, root: Path = Path(".")) -> dict[str, Any]:
    """The encoder's config section, its checkpoint ready for use.

    ``"scenes"`` becomes the folder of that pair and the grid its features are rounded onto (key ``grid``); a folder or
    hub id stays as it is given.
    """
    section = dict(resolve(study, study.variants[0])["encoders"][modality])
    if section["checkpoint"] == "scenes":
        section |= {"checkpoint": str(Path(root) / encoder_folder(study, modality)), "grid": GRID}
    return section


def recipe(study: Study) -> Recipe:
    """What the pair of encoders of `scenes` that a study reads was, or is to be, pretrained on."""
    return Recipe.of(resolve(study, study.variants[0])["encoders"]["draw"], study.data)


def is_pretrained_here(study: Study, modality: str) -> bool:
    """Does the workflow itself pretrain this encoder?"""
    encoders = resolve(study, study.variants[0])["encoders"]
    return encoders[modality]["checkpoint"] == "scenes" and encoders["draw"] > 0


def encoder_folder(study: Study, modality: str) -> Path:
    """The checkpoint folder of an encoder of `scenes`: in the package, or where the workflow pretrains it."""
    return folder(recipe(study), modality)


def encoder_slug(study: Study, modality: str) -> str:
    """Name of an encoder: base name of its checkpoint and 8 hex digits of its config section and its content.

    Raises:
        UserError: The checkpoint is not there, or cannot be read.
    """

    def make() -> str:
        section = resolve(study, study.variants[0])["encoders"][modality]
        name = str(section["checkpoint"]).rstrip("/")
        if name == "scenes":  # the content of the shipped pair is part of its name; others are made by the recipe
            name = f"scenes-{recipe(study).slug}"
            section |= {"checkpoint": name, "grid": GRID}
        else:
            section |= {"checkpoint": encoder_digest(dict(section), modality, study.root)}
        name = Path(name).resolve().name if is_path(name) and Path(name).name in (".", "..") else Path(name).name
        return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)[-100:]}-{sha256_text(canonical(section))[:8]}"

    return _once(study, f"encoders.{modality}", make)


def features_folder(study: Study, modality: str) -> Path:
    """The feature store of one modality."""
    return data_folder(study) / "features" / f"{modality}-{encoder_slug(study, modality)}"


def holds_tokens(study: Study, modality: str) -> bool:
    """Does a feature store hold a vector per token? Not where encoders are trained, which have none."""
    return resolve(study, study.variants[0])["encoders"][modality].get("level") == "tokens"


def features_files(study: Study, modality: str) -> list[Path]:
    """The files of a feature store."""
    names = ["manifest.json", "values.bin", *(["offsets.npy"] if holds_tokens(study, modality) else [])]
    return [features_folder(study, modality) / name for name in names]


def encoder_files(study: Study, modality: str) -> list[Path]:
    """Files of a checkpoint folder that the user gives; none of an encoder of `scenes` or of a hub id."""
    section = resolve(study, study.variants[0])["encoders"][modality]
    if section["checkpoint"] == "scenes":
        return []
    checkpoint = find(section, modality)
    return checkpoint.files() if checkpoint.revision is None else []


def results_folder(study: Study | Series) -> Path:
    """Tables over all runs of a study, and its training jobs; of a series, what compares its studies."""
    return Path("results") / study.name


def run_folder(study: Study, variant: str, block: str) -> Path:
    """One training job: one variant, one block of seeds."""
    return results_folder(study) / variant / block


TRAINED = ("weights.safetensors", "curves.parquet", "audit.parquet", "picks.npz", "distributions.json", "run.json")
"""What training writes there."""


def overrides(study_name: str) -> Path:
    """What the command line set when the results of a study were made, beside them."""
    return Path("results") / study_name / "study.json"


def rankings(study: Study, variant: str, block: str, split: str) -> Path:
    """Ranks of the relevant items of a split."""
    return run_folder(study, variant, block) / f"rankings.{split}.npz"


def metrics(study: Study, variant: str, block: str, split: str) -> Path:
    """Metrics of a split."""
    return run_folder(study, variant, block) / f"metrics.{split}.json"


def queries(study: Study, variant: str, block: str, split: str) -> Path:
    """Values per query and per image, for the statistics."""
    return run_folder(study, variant, block) / f"queries.{split}.npz"


def scratch_folder(study: Study, variant: str, block: str) -> Path:
    """Resumable state of a training job that has not ended."""
    return Path("scratch") / study.name / variant / block


def reports_folder(study: Study | Series) -> Path:
    """Report, tables and figures."""
    return Path("reports") / study.name


def tuned_files(study: Study) -> tuple[Path, ...]:
    """The outcome of the search whose values a study takes, and its trials; none where nothing is tuned."""
    if study.tuned is None:
        return ()
    file = tuned_file(study.tuned, study.draw)
    return file, trials_file(file)


def tuned_file(name: str, draw: int = 0) -> Path:
    """The outcome of the search that a study declares; a further draw of it has a file of its own."""
    return Path("ablations", "tuned", f"{name}.{draw}.yaml" if draw else f"{name}.yaml")


def trials_file(tuned: Path) -> Path:
    """The file of trials beside the outcome of a search."""
    return tuned.with_name(f"{tuned.name.removesuffix('.yaml')}.csv")


def readings(study: Study, variant: str, block: str, of: str) -> Path:
    """The append-only log of a run's readings of a split, by ``rank``; where ``of`` is ``calibrate``, by that verb."""
    return run_folder(study, variant, block) / f"readings.{of}.jsonl"


def reference(study: Study) -> Path:
    """Scores that a finished run of the study is set against, where some are recorded."""
    return Path("ablations", "reference", f"{study.name}.json")
