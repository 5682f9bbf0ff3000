"""One change to a file, of a kind that disks, editors and foreign programs make; or something else in its place."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

GARBAGE = {
    "empty": b"", "zeros": bytes(2000), "text": b"not what you wanted\n", "latin": "é,ü\n1,2\n".encode("latin-1"),
    "escape": b"\x1b[2J\x1b[H", "null": b"null", "list": b"[1, 2]", "word": b'"text"', "number": b"1e999",
    "nan": b"NaN", "deep": b"[" * 100_000 + b"]" * 100_000, "long": b"9" * 5000, "half": b'{"a": "\\ud800"}',
    "twice": b'{"a": 1, "a": 2}', "bom": b"\xef\xbb\xbf{}", "mapping": b"{}", "zip": b"PK\x05\x06" + bytes(18),
    "png": b"\x89PNG\r\n\x1a\n", "array": b"\x93NUMPY\x01\x00",
}  # fmt: skip
VALUES: list[Any] = [None, True, -1, 0, 7, 2**70, 0.5, 1e300, float("inf"), "", " ", "x", "1e3", "a" * 400, "../x", "ω",
                     "{split}", "a:B", "=1+1", "\x1b[2J<script>", "\ud800", [], {}, [None], [1, 2, 3], {"": 1},
                     {"a": {"b": []}}]  # fmt: skip
CELLS = ["", "x", "-1", "1e999", "nan", "9" * 5000, "=1+1", "\x1b[2J", '"', "True", "é", "2" * 200_000]


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    """A byte flipped, a part cut away, doubled or overwritten."""
    if not content:
        return b"x"
    a, b = sorted((draw.randrange(len(content)), draw.randrange(len(content) + 1)))
    changed = bytearray(content)
    how = draw.randrange(6)
    if how == 0:
        changed[a] ^= 1 << draw.randrange(8)
    elif how == 1:
        return content[:a]
    elif how == 2:
        return content[:a] + content[b:]
    elif how == 3:
        return content[:b] + content[a:]
    elif how == 4:
        changed[a : a + 4] = draw.randbytes(4)
    else:
        return content[b:]
    return bytes(changed)


def of_lines(content: bytes, draw: random.Random) -> bytes:
    """Of a CSV file: a line or column less, twice or moved, a cell replaced, other ends of lines."""
    rows = [line.split(b",") for line in content.split(b"\n")]
    row, how = draw.randrange(len(rows)), draw.randrange(7)
    column = draw.randrange(len(rows[row]))
    if how == 0:
        del rows[row]
    elif how == 1:
        rows.insert(row, rows[row])
    elif how == 2:
        for cells in rows:
            del cells[column : column + 1]
    elif how == 3:
        del rows[row][column]
    elif how == 4:
        return content.replace(b"\n", draw.choice([b"\r\n", b"\r", b"\n\n"]))
    elif how == 5:
        rows = rows[1:]
    else:
        rows[row][column] = draw.choice(CELLS).encode()
    return b"\n".join(b",".join(cells) for cells in rows)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every entry of JSON: what holds it, and its key."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def of_yaml(content: bytes, draw: random.Random) -> bytes:
    """As :func:`of_json`, of a YAML file."""
    return yaml.safe_dump(of_values(yaml.safe_load(content), draw), allow_unicode=True).encode("utf-8", "replace")


def of_json(content: bytes, draw: random.Random) -> bytes:
    """Of a JSON file: a key less or another one, or a value of another type; near the root as often as far from it."""
    return json.dumps(of_values(json.loads(content), draw)).encode()


def of_values(value: Any, draw: random.Random) -> Any:
    """Nested values with one change."""
    result = list(places(value))
    holder, key = draw.choice(result[: draw.choice([5, 30, len(result)])])
    how = draw.randrange(4)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[draw.choice(["x", "", "a.b", "=1", "__proto__"])] = holder.pop(key)
    else:
        holder[key] = draw.choice(VALUES)
    return value


def of_arrays(content: bytes, draw: random.Random) -> bytes:
    """Of an ``.npz`` file: an array less, of another kind or shape, or with values that cannot be."""
    import io

    import numpy as np

    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    name, how = draw.choice(list(arrays)), draw.randrange(8)
    array = arrays[name]
    if how == 0:
        del arrays[name]
    elif how == 1:
        arrays["another"] = arrays.pop(name)
    elif how == 2 and array.dtype.kind != "U":
        arrays[name] = array.astype(draw.choice([np.float64, np.int8, np.uint64, "U5", bool, complex]))
    elif how == 3:
        arrays[name] = array[None]
    elif how == 4 and array.ndim:
        arrays[name] = array[: draw.randrange(len(array) + 1)]
    elif how in (5, 6) and array.size and array.dtype.kind in "iuf":
        arrays[name] = array.copy()
        big = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else np.inf
        arrays[name].flat[draw.randrange(array.size)] = draw.choice([0, big] if array.dtype.kind == "u" else [-1, big])
    else:
        arrays[name] = np.array(draw.choice(["{}", "[]", "null", "x", '{"schema": 1}']))
    made = io.BytesIO()
    np.savez_compressed(made, **arrays)
    return made.getvalue()


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".csv": of_lines, ".json": of_json, ".yaml": of_yaml, ".npz": of_arrays,
}  # fmt: skip


def changed(content: bytes, suffix: str, draw: random.Random) -> bytes:
    """The content of a file with one change, three times out of five one of the kind that such a file may have."""
    how = draw.choice(["kind", "kind", "kind", "bytes", "garbage"] if content else ["bytes", "garbage"])
    if how == "garbage":
        return GARBAGE[draw.choice([*GARBAGE])]
    return (KINDS.get(suffix, of_bytes) if how == "kind" else of_bytes)(content, draw)


def change(file: Path, draw: random.Random) -> None:
    """Change a file once, or put a folder or nothing in its place."""
    content, how = file.read_bytes(), draw.choice([*["changed"] * 50, "folder", "gone"])
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how == "changed":
        file.write_bytes(changed(content, file.suffix, draw))
