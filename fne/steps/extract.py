"""The verb *extract*: a prepared data set through one frozen encoder into a feature store.

The unit of work is a chunk of different items (images, or captions where they first occur). What a chunk gives depends
on nothing but its items: not on who computes it, thread, job or an attempt that was killed. So the bytes of a store are
the same however the work was divided. (The last bits of float32 may depend on the batch, which is part of a chunk.)
A *part* is a store of the items of some chunks, made by a job of its own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.data.decoding import read_rgb
from fne.data.manifest import Manifest
from fne.data.text_files import say_nearest
from fne.encoders.checkpoints import canonical
from fne.encoders.store import MODALITIES, Features
from fne.encoders.writer import StoreWriter, writing
from fne.scenes.prepare import check_unseen
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

if TYPE_CHECKING:
    from fne.encoders.image_encoder import ImageEncoder
    from fne.encoders.text_encoder import TextEncoder

IMAGE_CHUNK, TEXT_CHUNK = 256, 4096
"""Different items of a chunk at the pooled level (a quarter of them at the level of tokens): what a kill can cost."""
TRUNCATED = 5
"""Captions longer than the encoder takes that a manifest names."""
_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow")

Made = Sequence[np.ndarray] | np.ndarray
"""Features of the items of a chunk, a row or an array of tokens each."""


def run(
    manifest_folder: Path,
    encoder: Mapping[str, Any],
    modality: str,
    out: Path,
    threads: int,
    device: str = "cpu",
    shard: tuple[int, int] | None = None,
) -> None:
    """Extract the features of all images, or of all captions, of a prepared data set, or one part of them.

    Rows are written in the order of the manifest. The store is byte-identical however often the work is interrupted,
    on however many threads it is done, and whether in parts (on machines of one kind).

    Args:
        manifest_folder: Folder of the prepared data.
        encoder: ``encoders.image`` or ``encoders.text`` of the resolved config.
        modality: ``"image"`` or ``"text"``.
        out: The store to make; unfinished work lies in ``<out>.partial``.
        threads: Chunks that are decoded and encoded at once, a CPU thread each; a GPU takes one batch at a time.
        device: ``"cpu"`` or ``"cuda"``.
        shard: Number I, from 1, of N parts: makes that part, in :func:`part_folder`.

    Raises:
        UserError: Anything about the data or the encoder that cannot be used.
    """
    if modality not in MODALITIES:
        raise bad_input("no such modality", key="modality", value=modality, allowed=MODALITIES)
    manifest = Manifest.open(manifest_folder) if modality == "image" else Manifest.load(manifest_folder)
    if "grid" in encoder:
        check_unseen(manifest_folder)
    first, source = _items(manifest, modality)
    size, low, high = _chunk(encoder, modality), 0, len(first)
    if shard:
        (low, high), out = _bounds(len(first), size, shard), part_folder(out, shard)
    own = first[low:high]
    if modality == "image":
        for _, files in _cells(manifest, modality, own, size):
            for file in files:
                if not os.path.isfile(os.path.join(manifest.root, file)):  # a Path takes five times as long
                    path = manifest.root / file
                    raise bad_input("image is missing", file=path, hint=say_nearest(path, cutoff=1.0))

    import torch

    from fne.encoders.encoders import ImageEncoder, load

    torch.set_num_threads(1)
    model = load(encoder, modality, device)
    header = {
        "modality": modality,
        "encoder": {**model.record(), "section": canonical(encoder, model.checkpoint)},
        "preprocessing": model.preprocessing(),
        "level": encoder["level"],
        "pooling": model.pooling or encoder["pooling"],
        "dtype": encoder["dtype"],
        "device": device,
        "chunk": size,
        "data_fingerprint": manifest.fingerprint(modality),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }
    extra: dict[str, Any] = {}
    # a GPU's memory holds the batch of one thread
    one_at_a_time = contextlib.nullcontext() if device == "cpu" else threading.Lock()
    if isinstance(model, ImageEncoder):
        encode = functools.partial(_images, model, manifest.root, one_at_a_time)
    else:
        counts = np.zeros((2, len(own)), np.int32)
        tokenize = functools.partial(_tokenized, model, counts, size, _name_of(manifest, modality, own))
        encode = functools.partial(_texts, model, tokenize, one_at_a_time)
        rows = np.flatnonzero((source >= low) & (source < high))
        items = source[rows] - low
    if shard:
        header, first, source = {**header, "part": [low, high]}, np.arange(high - low), np.arange(high - low)
    name = _name_of(manifest, modality, own if shard else None)
    with writing(out, header, len(source), name) as writer:
        begin = _begun(writer, first, size)
        _fill(writer, _made(encode, _cells(manifest, modality, own, size, begin), threads), first, source, size)
        if not isinstance(model, ImageEncoder):
            for cell in islice(_cells(manifest, modality, own, size), begin):
                tokenize(*cell)  # what an earlier attempt made is counted now
            extra["captions"] = _summary(counts, items, rows, model.max_length)
        writer.finish(extra if shard else _named(extra, manifest))


def join(manifest_folder: Path, encoder: Mapping[str, Any], modality: str, out: Path, parts: int) -> None:
    """Make the store of its parts, byte-identical to one that was made in one piece.

    Args:
        manifest_folder, encoder, modality, out: As of :func:`run`.
        parts: How many there are; each is verified.

    Raises:
        UserError: A part is missing, damaged, or was made of other data, by another encoder, by other versions or in
            another division; names it.
    """
    manifest = Manifest.load(manifest_folder)
    first, source = _items(manifest, modality)
    size, stores = _chunk(encoder, modality), []
    header: dict[str, Any] = {}
    for number in range(1, parts + 1):
        folder = part_folder(out, (number, parts))
        store = Features.open(folder, manifest.fingerprint(modality), encoder=encoder, modality=modality)
        bounds = list(_bounds(len(first), size, (number, parts)))
        said = {key: value for key, value in store.manifest.items() if key not in _OWN}
        header = header or said
        for key, value in [*header.items(), ("chunk", size), ("part", bounds)]:
            if (result := store.manifest.get(key)) != value:
                hint = f"extract part {number}/{parts} again"
                raise bad_input("does not belong to the other parts", file=folder / "manifest.json", key=key,
                                value=result, allowed=[value], hint=hint)  # fmt: skip
        stores.append(store)
    starts = [store.manifest["part"][0] for store in stores]

    def read(chunk: int) -> Made:
        number = int(np.searchsorted(starts, chunk * size, side="right")) - 1
        store, low = stores[number], chunk * size - starts[number]
        high = min(low + size, len(store))
        if store.offsets is None:
            return store.values[low:high]
        return [
            store.values[a:b] for a, b in zip(store.offsets[low:high], store.offsets[low + 1 : high + 1], strict=True)
        ]

    extra = {}
    if modality == "text":
        extra = _named({"captions": _merged([store.manifest["captions"] for store in stores])}, manifest)
    with writing(out, header, len(source), _name_of(manifest, modality)) as writer:
        chunks = range(_begun(writer, first, size), -(-len(first) // size))
        _fill(writer, ((chunk, read(chunk)) for chunk in chunks), first, source, size)
        writer.finish(extra)


def part_folder(out: Path, shard: tuple[int, int]) -> Path:
    """Where the part I of N of a store lies."""
    return out.with_name(f"{out.name}.parts") / "{}-of-{}".format(*shard)


_OWN = {"schema", "rows", "dim", "tokens_total", "sha256", "shards", "captions", "part"}
"""Of a part's manifest what is about it alone."""


def _name_of(manifest: Manifest, modality: str, rows: np.ndarray | None = None) -> Callable[[int], str]:
    """What gives the id of a row, or of one of some rows; ids are read when an error names one."""
    column = "id" if modality == "image" else "caption_id"
    return lambda row: manifest.column(column)[row if rows is None else rows[row]]


def _items(manifest: Manifest, modality: str) -> tuple[np.ndarray, np.ndarray]:
    """The row of every different item, (U,) ascending, and the item of every row, (N,)."""
    if modality == "text":
        return different(chain.from_iterable(manifest.stream("text")))
    rows = np.arange(sum(counts["images"] for counts in manifest.splits.values()))
    return rows, rows


def _cells(
    manifest: Manifest, modality: str, rows: np.ndarray, size: int, begin: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Files or texts of some rows (ascending), chunk after chunk from one on; no more than one is held."""
    chunk, cells, expected = begin, list[str](), iter(rows[begin * size :].tolist())
    at = next(expected, -1)
    for row, cell in enumerate(chain.from_iterable(manifest.stream("file" if modality == "image" else "text"))):
        if row == at:
            cells.append(cell)
            at = next(expected, -1)
            if len(cells) == size or at < 0:
                yield chunk, cells
                if at < 0:
                    return
                chunk, cells = chunk + 1, []


def different(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Number different texts in the order in which they first occur, by 128 bits of a hash: 16 bytes a text are held.

    Returns:
        The row of each different text, (U,) int64 ascending, and the number of every row's text, (N,) int64.

    Example:
        >>> [each.tolist() for each in different(["a dog", "a cat", "a dog"])]
        [[0, 1], [0, 1, 0]]
    """
    digests = bytearray()
    for text in texts:
        digests += hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    _, first, source = np.unique(np.frombuffer(digests, "V16"), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[source]


def _chunk(encoder: Mapping[str, Any], modality: str) -> int:
    size = IMAGE_CHUNK if modality == "image" else TEXT_CHUNK
    return max(1, size // 4) if encoder["level"] == "tokens" else size


def _bounds(items: int, size: int, shard: tuple[int, int]) -> tuple[int, int]:
    """The items of part I of N: whole chunks, perhaps none."""
    (number, parts), chunks = shard, -(-items // size)
    low, high = (min(chunks * each // parts * size, items) for each in (number - 1, number))
    return low, high


def _begun(writer: StoreWriter, first: np.ndarray, size: int) -> int:
    """The chunk in which writing goes on."""
    return max(0, int(np.searchsorted(first[::size], writer.done, side="right")) - 1)


def _made(
    encode: Callable[[int, list[str]], Iterator[Made]], cells: Iterable[tuple[int, list[str]]], threads: int
) -> Iterator[tuple[int, Made]]:
    """Chunks with their features, in order, computed by threads; at most one more than those is held.

    Threads, because decoding, tokenizing and all operations of torch let go of the interpreter lock: one import, one
    model. Each computes on one core, so that features do not depend on their number.
    """
    import torch

    stopped = threading.Event()

    def work(chunk: int, content: list[str]) -> list[np.ndarray]:
        made: list[np.ndarray] = []
        for batch in encode(chunk, content):
            made.extend(batch)
            if stopped.is_set():
                break
        return made

    pool = ThreadPoolExecutor(threads, "extract", initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[tuple[int, Future[list[np.ndarray]]]] = deque()
    try:
        for chunk, content in cells:
            waiting.append((chunk, pool.submit(work, chunk, content)))
            if len(waiting) > threads:
                yield waiting[0][0], waiting.popleft()[1].result()
        while waiting:
            yield waiting[0][0], waiting.popleft()[1].result()
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _fill(
    writer: StoreWriter, chunks: Iterable[tuple[int, Made]], first: np.ndarray, source: np.ndarray, size: int
) -> None:
    """Append all rows, a chunk or less at a time; one that repeats an earlier item is copied from the store."""
    starts = [*first[::size].tolist(), len(source)]
    unit = "images" if writer.header["modality"] == "image" else "captions"
    with Progress(f"extract {unit}", len(source), unit, done=writer.done) as progress:
        for chunk, made in chunks:
            begin = chunk * size
            for low in range(max(starts[chunk], writer.done), starts[chunk + 1], size):
                items = source[low : min(low + size, starts[chunk + 1])].tolist()
                writer.append([made[item - begin] if item >= begin else writer.read(first[item]) for item in items])
                progress.add(len(items))


def _images(
    model: ImageEncoder, root: Path, device: contextlib.AbstractContextManager[object], chunk: int, files: list[str]
) -> Iterator[Made]:
    """Features of a chunk of images, batch after batch."""
    batch: list[np.ndarray] = []
    for file in [*files, None]:
        pixels = None if file is None else model.prepare(read_rgb(root / file))
        # images of another size begin a new batch
        if batch and (pixels is None or pixels.shape != batch[0].shape or len(batch) == model.batch_size(pixels)):
            with device:
                made = model.encode(np.stack(batch))
            yield made
            batch = []
        batch += [] if pixels is None else [pixels]


def _texts(
    model: TextEncoder, tokenize: Callable[[int, list[str]], list[list[int]]],
    device: contextlib.AbstractContextManager[object], chunk: int, texts: list[str],
) -> Iterator[Made]:  # fmt: skip
    """Features of a chunk of different captions, made in batches of about one length."""
    tokens, made = tokenize(chunk, texts), [np.empty(0)] * len(texts)
    for places in model.batches(tokens):
        with device:
            batch = model.encode_tokens([tokens[place] for place in places])
        for place, row in zip(places, batch, strict=True):
            made[place] = row
        yield []
    yield made


def _tokenized(
    model: TextEncoder, counts: np.ndarray, size: int, name: Callable[[int], str], chunk: int, texts: list[str]
) -> list[list[int]]:
    """Tokens of a chunk of captions; how many there are before truncation, and of unknown words, is put into counts."""
    part = slice(chunk * size, chunk * size + len(texts))
    tokens, lengths, unknown = model.tokenize(texts)
    counts[:, part] = lengths, unknown
    if not all(tokens):
        place = tokens.index([])
        raise bad_input("the tokenizer finds no word in this caption", file=model.where, key=name(part.start + place),
                        value=texts[place])  # fmt: skip
    return tokens


def _summary(counts: np.ndarray, items: np.ndarray, rows: np.ndarray, longest: int) -> dict[str, Any]:
    """Figures about captions: ``items`` (n,) of the rows (n,) that hold one of them."""
    lengths, unknown = counts
    cut = rows[(lengths > longest)[items]]
    return {
        "different": len(lengths),
        "longest": int(lengths.max(initial=0)),
        "truncated": len(cut),
        "truncated_first": cut[:TRUNCATED].tolist(),
        "unknown_tokens": int(unknown[items].sum()),
        "tokens": int(lengths[items].sum()),
    }


def _merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of all parts."""
    return {
        "different": sum(part["different"] for part in parts),
        "longest": max(part["longest"] for part in parts),
        "truncated": sum(part["truncated"] for part in parts),
        "truncated_first": sorted(row for part in parts for row in part["truncated_first"])[:TRUNCATED],
        "unknown_tokens": sum(part["unknown_tokens"] for part in parts),
        "tokens": sum(part["tokens"] for part in parts),
    }


def _named(extra: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """The same with ids for rows."""
    if "captions" in extra:
        rows, name = extra["captions"]["truncated_first"], _name_of(manifest, "text")
        extra["captions"]["truncated_first"] = [name(row) for row in rows]
    return extra
