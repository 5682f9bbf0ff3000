"""Where an encoder's checkpoint lies and what it is: a local folder or a hub id.

Torch-free. Whatever the origin, the result is a local folder in the layout of ``transformers`` whose weights are
safetensors, and a record of what exactly it holds.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.encoders.declared import read_settings
from fne.encoders.families import claim
from fne.encoders.families.backbone import Backbone
from fne.encoders.pooling import JOINT
from fne.encoders.shipped import SHIPPED, check_shipped
from fne.utils.digests import FOLDER, Remembered
from fne.utils.errors import UserError, bad_input
from fne.utils.files import expanded, sha256_file, sha256_text
from fne.utils.shape import ANY, check

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
"""What of a checkpoint counts and is downloaded; pickled weights are neither."""
_FOLDER_HINT = "give the path of a local checkpoint folder instead (config.json, model.safetensors and the processor)"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on this machine.

    Attributes:
        folder: The folder ``from_pretrained`` is given.
        name: Hub id, or name of the folder.
        revision: Commit of the hub; None for a folder.
        family: What it needs and how it embeds.
        pooling: As the section says, or else the checkpoint's own; None at the level of tokens.
    """

    folder: Path
    name: str
    revision: str | None
    family: Backbone
    pooling: str | None

    def files(self) -> list[Path]:
        """All files that count, those of the folder first."""
        files = sorted({file for pattern in FILES for file in self.folder.glob(pattern)})
        return [*files, *(file for file in self.family.files(self.pooling) if file not in files)]

    def record(self, modality: str) -> dict[str, Any]:
        """What the folder holds: SHA-256 of weights, configuration and processor.

        Several shards are one digest over their names and digests, in order.
        """
        shards = _shards(self.folder)
        digests = [sha256_file(shard) for shard in shards]
        lines = "\n".join(f"{digest}  {shard.name}" for digest, shard in zip(digests, shards, strict=True))
        parts = "\n".join(f"{sha256_file(file)}  {file.name}" for file in self.family.files(self.pooling))
        return {
            "checkpoint": self.name,
            "revision": self.revision,
            "sha256": digests[0] if len(digests) == 1 else sha256_text(lines),
            "config_sha256": sha256_file(self.folder / "config.json"),
            "processor_sha256": sha256_file(self.family.processor(modality)),
            **({"parts_sha256": sha256_text(parts)} if parts else {}),
        }


def encoder_digest(section: Mapping[str, Any], modality: str, root: Path) -> str:
    """Hex SHA-256 over weights, configuration, processor and tokenizer of a checkpoint, by name and content.

    Args:
        section: As of :func:`find`.
        modality: ``"image"`` or ``"text"``.
        root: The project's folder, in which digests are remembered.

    Raises:
        UserError: As :func:`find`.
    """
    result = find(section, modality)
    if result.revision is not None:  # files of a commit never change
        return sha256_text(f"{result.name} {result.revision}")
    remembered = Remembered(root / FOLDER / "files.json")
    lines = [f"{remembered.get(file)}  {file.name}" for file in result.files()]
    remembered.save()
    return sha256_text("\n".join(lines))


def find(section: Mapping[str, Any], modality: str) -> Checkpoint:
    """Find the checkpoint a config section names, from the hub's cache or the hub itself where it is a hub id.

    Args:
        section: Keys ``checkpoint`` and ``revision`` of ``encoders.image`` or ``encoders.text``.
        modality: ``"image"`` or ``"text"``.

    Raises:
        UserError: There is no such folder or hub id, or it is not a safetensors checkpoint of that modality.
    """
    key, name = f"encoders.{modality}.checkpoint", section.get("checkpoint")
    if not isinstance(name, str) or not name:
        raise bad_input("no encoder is named", key=key, value=name, allowed="a folder or a hub id")
    revision = section.get("revision")
    folder = expanded(name)
    if folder.is_relative_to(SHIPPED):
        check_shipped()
    if folder.is_dir():
        if revision is not None:
            key = f"encoders.{modality}.revision"
            raise bad_input("a local folder has no revisions", key=key, value=revision, allowed="null")
        name = folder.resolve().name
    elif "grid" in section:
        hint = "run `fne pretrain` first"
        raise bad_input("has not been pretrained yet", file=folder, key="encoders.draw", hint=hint)
    elif name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise bad_input("no such folder", key=key, value=name, hint=_FOLDER_HINT)
    else:
        folder = _from_hub(name, revision, key)
        revision = folder.name
    if not (folder / "config.json").is_file():
        raise bad_input("not a checkpoint folder: it has no config.json", file=folder, key=key)
    family = claim(folder)
    pooling = None if section.get("level") == "tokens" else section.get("pooling") or family.own_pooling(modality)
    result = Checkpoint(folder, name, revision, family, pooling)
    _shards(folder)
    result.family.check(section, modality)
    return result


def check_sides(sections: Mapping[str, Mapping[str, Any]], key: str, value: str, making: Sequence[str]) -> None:
    """Refuse two sides that one tower would have to be, or of different widths that nothing projects into one space.

    Local checkpoints are known by their files before they are loaded; others are checked as they are loaded.

    Args:
        sections: ``encoders.image`` and ``encoders.text``.
        key: Of the config, that says what comes after the encoders.
        value: Its value.
        making: The values that make a space of their own.

    Raises:
        UserError: The checkpoint of both sides has one tower; or the widths differ.
    """
    folders = {side: expanded(str(section.get("checkpoint"))) for side, section in sections.items()}
    if not all((folder / "config.json").is_file() for folder in folders.values()):
        return
    families = {side: claim(folder) for side, folder in folders.items()}
    own = {side: family.own_pooling(side) for side, family in families.items()}
    one_tower = own["image"] != JOINT and "model_type" in families["image"].config
    if one_tower and folders["image"] == folders["text"]:
        problem = "the checkpoint has one tower, so it cannot be the encoder of both sides"
        raise bad_input(problem, file=folders["image"], key="encoders.text.checkpoint",
                        value=sections["text"]["checkpoint"])  # fmt: skip
    poolings = {side: section.get("pooling") or own[side] for side, section in sections.items()}
    widths = {side: family.width(side, poolings[side]) for side, family in families.items()}
    if value not in making and None not in widths.values() and widths["image"] != widths["text"]:
        problem = f"the encoders share no space: {widths['image']} and {widths['text']} dimensions"
        left_out = [f"encoders.{side}.pooling" for side in sections if own[side] == JOINT != poolings[side]]
        hint = f"{' and '.join(left_out)}: joint takes the checkpoint's own projection" if left_out else None
        raise bad_input(problem, key=key, value=value, allowed=making, hint=hint)


def check_lora(folders: Mapping[str, Path], modules: Sequence[str]) -> None:
    """Refuse modules that no checkpoint has, or of which one checkpoint has none, before a model is loaded.

    Args:
        folders: The checkpoints that get adapters, by side.
        modules: Names of linear modules, the last part of each.

    Raises:
        UserError: Names them, and what there is; or the package that makes adapters is not installed.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, set[str]] = {}
    for side, folder in folders.items():
        for shard in _shards(folder):
            try:
                with safe_open(shard, framework="np") as file:
                    weights = [name for name in file.keys() if name.endswith(".weight")]  # noqa: SIM118 (no mapping)
                    linear = [name for name in weights if len(file.get_slice(name).get_shape()) == 2]
            except (OSError, SafetensorError) as error:
                raise bad_input(f"not a readable weights file ({error})", file=shard) from None
            found.setdefault(side, set()).update(name.split(".")[-2] for name in linear if "." in name[:-7])
    at: dict[str, Any] = {"key": "finetune.lora_modules"}
    for module in modules:
        if not any(module in names for names in found.values()):
            problem = "no encoder has such a module"
            raise bad_input(problem, **at, value=module, allowed=sorted(set().union(*found.values())))
    for side, names in found.items():
        if not names & {*modules}:
            problem = f"the {side} encoder has none of these modules"
            raise bad_input(problem, file=folders[side], **at, value=list(modules), allowed=sorted(names))
    if importlib.util.find_spec("peft") is None:
        hint = "pip install -e '.[extras]' -c constraints.txt"
        raise bad_input("needs the package peft", key="finetune.part", value="lora", hint=hint)


def _from_hub(name: str, revision: str | None, key: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    # nothing from sub-folders (other formats, other frameworks), but the parts of a sentence encoder
    ignored = ["[!0-9]*/*", "*/*.txt", "*/*.model"]
    fetch = functools.partial(
        snapshot_download, name, revision=revision, allow_patterns=list(FILES), ignore_patterns=ignored
    )
    try:
        try:  # the commit that was downloaded before: a name means one commit from the first job to the last
            folder = fetch(local_files_only=True)
            _shards(Path(folder))
        except (LocalEntryNotFoundError, UserError):
            folder = fetch()
    except Exception as error:  # the hub's client raises many kinds: no network, no such id, no such revision, gated
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        requested = name if revision is None else f"{name} at revision {revision}"
        problem = f"no such folder, and the hub gave no checkpoint of that name ({reason})"
        raise bad_input(problem, key=key, value=requested, hint=f"without a network: {_FOLDER_HINT}") from None
    return Path(folder)


def _shards(folder: Path) -> list[Path]:
    """The files of the weights, in the order of their names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        allowed = f"{WEIGHTS}, or shards with {INDEX}"
        hint = "pickled weights (pytorch_model.bin) are never loaded: convert them"
        raise bad_input("no safetensors weights", file=folder, allowed=allowed, hint=hint)
    index = read_settings(folder / INDEX)
    check(index, {"weight_map": {ANY: str}}, folder / INDEX, more=True)
    shards = [folder / name for name in sorted({Path(name).name for name in index["weight_map"].values()})]
    for shard in shards:
        if not shard.is_file() or shard.suffix != ".safetensors":
            raise bad_input("a shard of the weights is missing", file=shard, hint=f"{INDEX} names it")
    return shards


def canonical(section: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """The config section as a store records it: plain JSON, without the place of the folder."""
    return json.loads(json.dumps({**section, "checkpoint": checkpoint.name}))


def is_path(checkpoint: Any) -> bool:
    """Is a checkpoint named by an absolute or explicitly relative path, and not by a hub id?"""
    return isinstance(checkpoint, str) and checkpoint.startswith(("/", ".", "~"))
