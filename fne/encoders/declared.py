"""What the files of a checkpoint declare beside its model, as sentence-transformers writes them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input
from fne.utils.files import read_json
from fne.utils.shape import check

MODULES = "modules.json"
"""What comes after the model, each part with a folder of its own."""
_POOLINGS = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max"}


def read_settings(file: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        UserError: It holds none.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise bad_input("not an object of settings", file=file, value=type(content).__name__, allowed="a JSON object")
    return content


def parts_of(folder: Path) -> list[tuple[str, str]]:
    """Kind and folder of each part of a checkpoint of sentence-transformers; none for another."""
    file = folder / MODULES
    parts = read_json(file) if file.is_file() else []
    check(parts, [{"type": str, "path": str}], file, more=True)
    return [(part["type"].rpartition(".")[2], part["path"]) for part in parts]


def declared_pooling(folder: Path) -> str | None:
    """How a checkpoint's own files say that texts are pooled; None where they do not."""
    files = [folder / path / "config.json" for kind, path in parts_of(folder) if kind == "Pooling"]
    for file in filter(Path.is_file, files):
        settings = read_settings(file)
        modes = [key.removeprefix("pooling_mode_") for key, on in settings.items() if on is True and "_mode_" in key]
        return " and ".join(_POOLINGS.get(mode, mode) for mode in modes) or settings.get("pooling_mode", "mean")
    return None


def check_pooling(section: Mapping[str, Any], folder: Path) -> None:
    """Check that texts are pooled as the checkpoint was trained, where its own files say how.

    Raises:
        UserError: They are not.
    """
    pooling = declared_pooling(folder)
    if pooling not in (None, section.get("pooling")):
        at: dict[str, Any] = {"file": folder, "key": "encoders.text.pooling", "value": section.get("pooling")}
        hint = "where it is none of these, take encoders.text.level tokens, or another encoder"
        raise bad_input(f"the checkpoint was trained with pooling {pooling}", **at, allowed=[pooling, "joint"],
                        hint=hint)  # fmt: skip


def not_applied(folder: Path) -> list[str]:
    """Parts of a checkpoint of sentence-transformers that change its result and are left out of the features."""
    result = []
    for kind, path in parts_of(folder):
        if kind == "Pooling" and not (folder / path / "config.json").is_file():
            result.append(f"{path} (Pooling, whose config.json is missing)")
        elif kind not in ("Transformer", "Pooling", "Normalize"):  # embeddings are normalised in any case
            result.append(f"{path} ({kind})")
    return result
