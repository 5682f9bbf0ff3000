"""A project whose configuration a test may damage, and pieces of configuration that several tests need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fne.steps.snakemake import from_snakemake
from fne.study import api as config
from fne.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PATHS = {"data.annotations": "/a/split.json", "data.images": "/a/images"}
ENCODERS = {"encoders.image.checkpoint": "/m/vision", "encoders.text.checkpoint": "org/text"}


def given(folder: Path) -> dict[str, str]:
    """Overrides that name a corpus of one batch and two folders that look like checkpoints, written into ``folder``."""
    (folder / "images").mkdir(parents=True)
    names = {"train": [f"train{number}" for number in range(128)], "val": ["val"], "test": ["test"]}
    rows = [{"image": f"{name}.png", "caption": split, "split": split} for split in names for name in names[split]]
    (folder / "split.json").write_text(json.dumps(rows))
    for row in rows:
        (folder / "images" / row["image"]).write_bytes(b"1")
    places = {"data.annotations": folder / "split.json", "data.images": folder / "images"}
    for modality, name in (("image", "vision"), ("text", "text")):
        places[f"encoders.{modality}.checkpoint"] = checkpoint(folder / name)
    return {key: str(place) for key, place in places.items()}


def checkpoint(folder: Path) -> Path:
    """A folder with the files of a checkpoint, which no encoder can be loaded from."""
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


class Project:
    """A copy of the repository's ablations that a test may damage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "ablations", root / "ablations")
        shutil.rmtree(root / "ablations" / "tuned", ignore_errors=True)
        for file in (root / "ablations" / "studies").glob("*.yaml"):
            content = {key: value for key, value in self.read(f"studies/{file.stem}").items() if key != "tune"}
            content.get("factors", {}).pop("tuned.draw", None)
            self.write(f"studies/{file.stem}", content | {"tuned": None})

    def path(self, name: str) -> Path:
        return self.root / "ablations" / f"{name}.yaml"

    def write(self, name: str, content: object) -> None:
        self.path(name).parent.mkdir(exist_ok=True)
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        self.path(name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> dict:
        return yaml.safe_load(self.path(name).read_text(encoding="utf-8"))

    def edit(self, name: str, **changes: object) -> None:
        content = self.read(name) | changes
        if isinstance(variants := changes.get("variants"), list):  # a study of others is about none of its own
            content = {key: value for key, value in content.items()
                       if key not in ("method", "control") or key in changes or value in variants}  # fmt: skip
        self.write(name, content)

    def variant(self, name: str, delta: dict, isolates: list[str], **more: object) -> None:
        content = {
            "title": name,
            "question": "?",
            "parent": "fne",
            "set": delta,
            "isolates": isolates,
            "role": "control",
        }
        self.write(f"variants/{name}", content | more)

    def load(self, name: str = "paper", **overrides: object) -> config.Study:
        return config.load_study(name, overrides, self.root)

    def fails(self, name: str = "paper", overrides: dict | None = None, *, saying: list[str]) -> str:
        with pytest.raises(UserError) as caught:
            config.load_study(name, overrides or {}, self.root)
        message = str(caught.value)
        for words in saying:
            assert words in message, f"{words!r} is not in: {message}"
        return message


def digests(study: config.Study) -> dict[str, str]:
    return {variant: config.digest(config.resolve(study, variant)) for variant in study.variants}


SEARCH = {
    "trials": 8,
    "budget": 12,
    "finalists": 2,
    "seeds": [1000, 1001, 1002, 1003],
    "search": {"loss.margin": {"log": [0.1, 0.2]}},
}
"""A search that a study may declare."""


def tuned_file(values: dict, **changes: object) -> dict:
    protocol = {"metric": "val_rsum", "date": "2026-01-01", "command": "fne tune"}
    content = {"declared": SEARCH, "protocol": protocol, "values": values, "cost": {}}
    for section, word in (("where", "inside"), ("ranges", "0 to 1")):
        content[section] = {item: dict.fromkeys(of, word) for item, of in values.items() if isinstance(of, dict)}
    return content | {"reasons": {variant: "best of 8" for variant in values}} | changes


def sweep(project: Project) -> None:
    project.variant("queue", {}, ["memory.size", "negatives.prior"], role="nuisance",
                    sweep={"memory.size": [512, 2048], "negatives.prior": [1.0e-5, 0.01]})  # fmt: skip


def asked(given: dict, root: Path, **options: Any) -> config.Study | config.Series:
    """What ``snakemake --config`` requests."""
    return config.load(*from_snakemake(given, root, **options), root)
