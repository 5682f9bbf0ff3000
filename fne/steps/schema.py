"""JSON schemas of the files in ``ablations/``, for editors: which keys there are, what each means and may be."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.data.published import Entry
from fne.negatives.registry import registered
from fne.study.library import Library
from fne.study.model import DATA_KEYS, DATASETS, REGIMES, SHARED, data_keys
from fne.study.plugins import EVERY_KEY, KEYS, RuleKey
from fne.study.study_file import StudyFile
from fne.study.tuned import TunedFile
from fne.study.variants import VARIANT_KEYS, VariantFile
from fne.utils.fields import Key, unflatten
from fne.utils.files import write_text
from fne.utils.models import Section

FOLDER = Path("ablations", "schema")
LINE = re.compile(r"(?P<indent> *)(?P<key>\w+): *(?P<value>[^#]*?)\s*(# (?P<meaning>.*))?")
ARGUMENT = re.compile(r"^    (\w+): (.*)$", re.MULTILINE)
OPTIONS = {"type": "object", "description": "of a rule from outside: what its class takes"}


def meanings(root: Path = Path(".")) -> dict[str, str]:
    """What each key means, in a line: of a shared one its comment in ``base.yaml``, of an option its reason."""
    result = {name: key.meaning for name, key in KEYS.items() if key.meaning}
    above: list[str] = []
    for line in (Path(root) / "ablations" / "base.yaml").read_text(encoding="utf-8").splitlines():
        if (match := LINE.fullmatch(line)) is None:
            continue
        above = [*above[: len(match["indent"]) // 2], match["key"]]
        name = ".".join(["data", *above[2:]] if above[0] == "datasets" else above)
        if match["meaning"]:
            result.setdefault(name, match["meaning"])
    for name in EVERY_KEY:  # of a text encoder what is said of an image encoder, of a split what is said of all
        result.setdefault(
            name, result.get(name.replace(".text.", ".image.")) or result.get(name.rpartition(".")[0], "")
        )
    return result


def schemas(root: Path = Path(".")) -> dict[str, dict[str, Any]]:
    """A schema for each kind of file, by name."""
    summary, base = meanings(root), Library(root).base

    def keys(of: Mapping[str, Key], at: str = "", prefix: str = "", *, many: bool = False) -> dict[str, Any]:
        return _keys({name.removeprefix(prefix): _leaf(name, key, summary, base, many) for name, key in of.items()}, at)

    every = {"data.dataset": data_keys("scenes")["data.dataset"], **EVERY_KEY}
    run = keys(KEYS)
    entry = _file(Entry, {})
    datasets = _object(
        {name: keys(DATA_KEYS[kind], f"datasets/properties/{name}", "data.") for name, kind in DATASETS.items()}
    ) | {"required": list(DATASETS)}
    return {
        "base": run
        | {
            "properties": {"regime": {"enum": list(REGIMES)}, "datasets": datasets, **run["properties"]},
            "required": ["regime", "datasets", *unflatten(SHARED)],
        },
        "released": run,
        "variant": _file(
            VariantFile, {"set": keys(VARIANT_KEYS, "set"), "sweep": keys(VARIANT_KEYS, "sweep", many=True)}
        ),
        "study": _file(
            StudyFile,
            {
                name: keys({key: item for key, item in every.items() if key.startswith(prefix)}, name, prefix)
                for name, prefix in (("data", "data."), ("encoders", "encoders."))
            }
            | {"set": keys(KEYS, "set")},
        ),
        "tuned": _file(TunedFile, {"values": _each(keys(VARIANT_KEYS, "values/additionalProperties"))}),
        "published": {"$defs": entry.pop("$defs")} | _object({"results": {"type": "array", "items": entry}}),
    }


def run(root: Path = Path(".")) -> list[Path]:
    """Write every schema into ``ablations/schema``; says where."""
    files = []
    for name, content in schemas(root).items():
        file = Path(root) / FOLDER / f"{name}.json"
        write_text(file, json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **content}, indent=1) + "\n")
        files.append(file)
    return files


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _each(schema: Mapping[str, Any]) -> dict[str, Any]:
    """An object with values of one kind under any name."""
    return {"type": "object", "additionalProperties": dict(schema)}


def _leaf(name: str, key: Key, summary: Mapping[str, str], base: Mapping[str, Any], many: bool) -> dict[str, Any]:
    """What a value of a key may be, and what it means; with ``many`` a list of such values."""
    leaf = {"anyOf": [key.schema, {"type": "null"}]} if key.null else key.schema
    leaf = {**leaf, "examples": [*registered(key.section)]} if isinstance(key, RuleKey) else leaf
    leaf = {"type": "array", "items": leaf} if many else leaf
    default = f" Default: {base[name]}." if name in base else ""
    return {**leaf, "description": f"{summary.get(name, '')}.{default}"}


def _keys(leaves: Mapping[str, Mapping[str, Any]], at: str) -> dict[str, Any]:
    """An object of keys, which may stand nested or dotted; ``at``: the key of the file that holds it."""
    nested, root = _nest(unflatten(leaves)), f"#/properties/{at}/properties/" if at else "#/properties/"
    dotted = {name: {"$ref": root + name.replace(".", "/properties/")} for name in leaves if "." in name}
    outside: dict[str, Any] = {"patternProperties": {r"^(negatives|loss)\.options\.\w+$": {}}}
    whole = nested | {"properties": nested["properties"] | dotted}
    return whole | (outside if "negatives.strategy" in leaves else {})


def _nest(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Sections as objects; a leaf is known by its description."""
    result = {
        name: inside if isinstance(inside.get("description"), str) else _nest(inside) for name, inside in tree.items()
    }
    return _object(result | ({"options": OPTIONS} if "strategy" in result or "temperature" in result else {}))


def _file(model: type[Section], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a file: its model, with what is said of each key, and what stands in its sections."""
    whole = model.model_json_schema()
    arguments = dict(ARGUMENT.findall(re.sub(r"\n {8,}", " ", inspect.getdoc(model) or "")))
    for name, field in whole["properties"].items():
        field["description"] = arguments.get(name, "")
        if name in parts:
            may = {"type": ["object", "null"]} if name in ("data", "encoders", "set") else {}
            whole["properties"][name] = {**parts[name], **may, "description": field["description"]}
    return whole
