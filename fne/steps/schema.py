"""JSON schemas of the files in ``ablations/``, for editors: which keys there are, what each means and may be."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.study.library import Library
from fne.study.model import DATA_KEYS, DATASETS, EVERY_KEY, KEYS, REGIMES, SHARED, data_keys
from fne.study.study_file import StudyFile
from fne.study.variants import VARIANT_KEYS, VariantFile, show
from fne.utils.fields import NONE, Key, unflatten
from fne.utils.files import write_text
from fne.utils.models import Section

FOLDER = Path("ablations", "schema")
LINE = re.compile(r"(?P<indent> *)(?P<key>\w+): *(?P<value>[^#]*?)\s*(# (?P<meaning>.*))?")
ARGUMENT = re.compile(r"^    (\w+): (.*)$", re.MULTILINE)
OPTIONS = {"type": "object", "description": "of a rule from outside: what its class takes"}


def meanings(root: Path = Path(".")) -> dict[str, str]:
    """What each key means, in a line: of a shared one its comment in ``base.yaml``, of an option its reason."""
    found = {name: key.meaning for name, key in KEYS.items() if key.meaning}
    above: list[str] = []
    for line in (Path(root) / "ablations" / "base.yaml").read_text(encoding="utf-8").splitlines():
        if (match := LINE.fullmatch(line)) is None:
            continue
        above = [*above[: len(match["indent"]) // 2], match["key"]]
        name = ".".join(["data", *above[2:]] if above[0] == "datasets" else above)
        if match["meaning"]:
            found.setdefault(name, match["meaning"])
    for name in EVERY_KEY:  # of a text encoder what is said of an image encoder, of a split what is said of all
        found.setdefault(name, found.get(name.replace(".text.", ".image.")) or found.get(name.rpartition(".")[0], ""))
    return found


def schemas(root: Path = Path(".")) -> dict[str, dict[str, Any]]:
    """A schema for each kind of file, by name."""
    told = meanings(root)
    base = Library(root).base
    data = {f"{kind}": _keys(keys, told, base, "data.") for kind, keys in DATA_KEYS.items()}
    every = {key: value for one in data.values() for key, value in one["properties"].items()}
    datasets = {name: data[kind] for name, kind in DATASETS.items()}
    delta = _keys(VARIANT_KEYS, told, base)
    values = _keys(VARIANT_KEYS, told, base, many=True)
    run = _keys(KEYS, told, base)
    return {
        "base": {
            **run,
            "properties": {
                "regime": {"enum": list(REGIMES)},
                "datasets": _object(datasets) | {"required": list(DATASETS)},
                **run["properties"],
            },
            "required": ["regime", "datasets", *unflatten(SHARED)],
        },
        "variant": _file(VariantFile, {"set": delta, "sweep": values}),
        "study": _file(
            StudyFile,
            {
                "data": _object({"dataset": data_keys("scenes")["data.dataset"].schema, **every}),
                "encoders": run["properties"]["encoders"],
                "set": run,
            },
        ),
    }


def write(root: Path = Path(".")) -> list[Path]:
    """Write every schema into ``ablations/schema``; says where."""
    files = []
    for name, content in schemas(root).items():
        file = Path(root) / FOLDER / f"{name}.json"
        write_text(file, json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **content}, indent=1) + "\n")
        files.append(file)
    return files


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _keys(
    keys: Mapping[str, Key], told: Mapping[str, str], base: Mapping[str, Any], prefix: str = "", *, many: bool = False
) -> dict[str, Any]:
    """An object of keys, which may stand nested or dotted; with ``many`` each has a list of values."""
    leaves = {}
    for name, key in keys.items():
        default = base.get(name, NONE)
        words = " ".join(
            [f"{told.get(name, '')}.".lstrip("."), *([f"Default: {default}."] if default is not NONE else [])]
        )
        leaf = {"anyOf": [key.schema, {"type": "null"}]} if key.null else key.schema
        leaf = {"type": "array", "items": leaf} if many else leaf
        leaves[name.removeprefix(prefix)] = {**leaf, "description": words}
    nested = _nest(unflatten(leaves), keys)
    dotted = {name: leaf for name, leaf in leaves.items() if "." in name}
    outside = {r"^(negatives|loss)\.options\.\w+$": {}} if "negatives.strategy" in keys else {}
    return nested | {"properties": nested["properties"] | dotted, "patternProperties": outside}


def _nest(tree: Mapping[str, Any], keys: Mapping[str, Key]) -> dict[str, Any]:
    """Sections as objects; a leaf is known by its description."""
    found = {
        name: inside if isinstance(inside.get("description"), str) else _nest(inside, keys)
        for name, inside in tree.items()
    }
    return _object(found | ({"options": OPTIONS} if {"strategy", "kind"} & {*found} and "size" not in found else {}))


def _file(model: type[Section], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a file: its model, with what is said of each key, and what stands in its sections."""
    whole = model.model_json_schema()
    arguments = dict(ARGUMENT.findall(re.sub(r"\n {8,}", " ", inspect.getdoc(model) or "")))
    for name, field in whole["properties"].items():
        field["description"] = arguments.get(name, "")
        if name in parts:
            whole["properties"][name] = {**parts[name], "description": field["description"]}
    return whole
