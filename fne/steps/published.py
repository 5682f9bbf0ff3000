"""``fne published add``: numbers of a table that a reader has -> six lines of ``ablations/published.yaml``."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from fne.data.published import FILE, PREFIXES, Entry, metrics_of, read_published, read_results
from fne.study.api import study_files
from fne.utils.errors import bad_input
from fne.utils.fields import canonical, unflatten
from fne.utils.files import read_bytes, write_text
from fne.utils.yaml_file import flow, parse, read_mapping, span

COMMAND_LINE = "command line"


def add(given: Mapping[str, Any], metrics: Mapping[str, Any], root: Path) -> str:
    """Write a result into the file, of which all other text stays; one that is there without a number is filled.

    Args:
        given: ``method``, ``dataset``, ``protocol``, ``paper``, ``page``, ``table``; and, or None: ``id`` (made of the
            method), ``image_encoder``, ``text_encoder``, ``ensemble``, ``note``.
        metrics: Percent by dotted name, such as ``i2t.r1``. The others are null: nothing is added up or guessed.
        root: The project's folder.

    Returns:
        What was written, and which studies show it.

    Raises:
        UserError: A value cannot be, or the result is there with other values; nothing was written.
    """
    file, known = Path(root) / FILE, read_published(root)
    kind = f"{given['dataset']} {given['protocol']}"
    if kind not in PREFIXES:
        problem, key = "no such data set and protocol", "--dataset, --protocol"
        raise bad_input(problem, file=COMMAND_LINE, key=key, value=kind, allowed=PREFIXES)
    slug = re.sub(r"[^a-z0-9]+", "-", given["method"].lower()).strip("-")
    if not (given["id"] or slug):
        at = {"file": COMMAND_LINE, "key": "--id", "allowed": f"{PREFIXES[kind]}..."}
        raise bad_input("must be given: none can be made of this method's name", value=given["method"], **at)
    identity = given["id"] or PREFIXES[kind] + slug
    before = known.get(identity)
    result = _result(identity, given, _numbers(metrics, kind), before if before and not before.available else None)
    whole = {**result, "dataset": given["dataset"], "protocol": given["protocol"]}
    entry = read_results({"results": [whole]}, Path(COMMAND_LINE))[identity]
    if before is None and given["id"] is None:
        alike = (other for other in known.values() if other.available and _setting(other) == _setting(entry))
        before = next(alike, None)
    if before is not None and before.available:
        if differs := list(_differences(before, entry)):
            hint = "correct the file by hand; or give the result of another source or training an --id of its own"
            problem = f"is listed with other values: {', '.join(differs)}"
            raise bad_input(problem, file=file, key=before.id, hint=hint)
        return f"{file}: {before.id} is listed, with these values"
    lines = [f"{key}: {flow(value)}" for key, value in result.items()]
    text = read_bytes(file).decode("utf-8-sig")
    changed = _edited(text, file, lines, None if before is None else list(known).index(identity))
    if read_results(parse(changed, file), file) != known | {identity: entry}:
        raise bad_input(
            "cannot be edited and keep its other results",
            file=file,
            hint="add these lines by hand: " + "; ".join(lines),
        )
    write_text(file, changed)
    for note in _unusual(entry, known.values()):
        print(f"note: {note}", file=sys.stderr)
    shown_by = [name for name, path in study_files(root).items() if _shows(path, identity)]
    use = f"shown by the reports of {', '.join(shown_by)}"
    if not shown_by:
        use = "no study names it yet; docs/how-to/variant.md says how one does"
    return "\n".join([f"{file}: {identity} written", *(f"  {line}" for line in lines), use])


def _numbers(metrics: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The metrics of a result, nested, null where they were not given."""
    known = metrics_of(kind)
    for name in metrics:
        if name not in known:
            raise bad_input("unknown metric", file=COMMAND_LINE, key="--metrics", value=name, allowed=known)
    values = [value for value in metrics.values() if value is not None]
    if not values:
        raise bad_input("holds no number", file=COMMAND_LINE, key="--metrics", allowed=known)
    if all(isinstance(value, int | float) and value <= 1 for value in values):
        raise bad_input("holds shares", file=COMMAND_LINE, key="--metrics", value=max(values), allowed="percent")
    names = [name for name, needed in known.items() if needed or name in metrics]
    return unflatten({name: metrics.get(name) for name in names})


def _result(
    identity: str, given: Mapping[str, Any], numbers: Mapping[str, Any], before: Entry | None
) -> dict[str, Any]:
    """The result as the file has it, with what an entry without numbers says of encoders and ensemble."""
    image, text, ensemble, note = (given[key] for key in ("image_encoder", "text_encoder", "ensemble", "note"))
    if before is not None:
        if not image and not text and any(dict(before.backbone).values()):
            image, text = before.backbone.image, before.backbone.text
            note = "; ".join(filter(None, [note, f"encoders as listed before, from: {before.source}"]))
        ensemble = before.ensemble if ensemble is None else ensemble
    source = {"paper": given["paper"], **{key: _position(given[key]) for key in ("page", "table")}}
    backbone, more = {"image": image, "text": text}, {"note": note} if note else {}
    return {"id": identity, "method": given["method"], "backbone": backbone, "ensemble": ensemble,
            "metrics": numbers, "source": source, **more}  # fmt: skip


def _position(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _setting(entry: Entry) -> tuple[Any, ...]:
    return entry.method.casefold(), dict(entry.backbone), entry.dataset, entry.protocol


def _differences(before: Entry, entry: Entry) -> Iterator[str]:
    names = {"method": (before.method, entry.method), "ensemble": (before.ensemble, entry.ensemble)}
    names |= {side: (getattr(before.backbone, side), getattr(entry.backbone, side)) for side in ("image", "text")}
    for name, (there, here) in names.items():
        if here not in (None, there):
            yield f"{name} {there}, here {here}"
    for key, value in entry.values.items():
        if (listed := before.values.get(key)) != value:
            yield f"{'.'.join(key)} {listed}, here {value}"


def _edited(text: str, file: Path, lines: list[str], place: int | None) -> str:
    """The file's text with a result in the place of another, or behind all others."""
    whole = yaml.compose(text, Loader=yaml.SafeLoader)
    results = next(node for key, node in whole.value if key.value == "results")
    if results.flow_style or any(node.flow_style for node in results.value):
        hint = "write each result as a block, which begins with `- id:` on a line of its own"
        raise bad_input("cannot be edited: results stand within brackets", file=file, key="results", hint=hint)
    column = results.value[place or 0].start_mark.column
    block = f"\n{' ' * column}".join(lines)
    if place is None:
        end = text.find("\n", span(results)[1]) % (len(text) + 1)  # of the line
        return f"{text[:end]}\n{' ' * (column - 2)}- {block}{text[end:] or chr(10)}"
    start, end = span(results.value[place])
    return text[:start] + block + text[end:]


def _unusual(entry: Entry, others: Collection[Entry]) -> Iterator[str]:
    """Names that are nearly another's: a study finds results by the exact names of their encoders."""
    for what, read in (("method", lambda one: one.method), ("image encoder", lambda one: one.backbone.image),
                       ("text encoder", lambda one: one.backbone.text)):  # fmt: skip
        name, names = read(entry), {read(other) for other in others} - {None}
        near = difflib.get_close_matches(name or "", names - {name}, n=1, cutoff=0.8) if name not in names else []
        if near:
            yield f"no other result has the {what} {name!r}; did you mean {near[0]!r}?"


def _shows(study: Path, identity: str) -> bool:
    return f'"{identity}"' in canonical(read_mapping(study).get("published"))
