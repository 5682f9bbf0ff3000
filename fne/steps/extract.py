"""The verb *extract*: a prepared data set through one frozen encoder into a feature store."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.data.manifest import Manifest
from fne.data.text_files import say_nearest
from fne.encoders.checkpoints import canonical
from fne.encoders.images import decoded
from fne.encoders.store import MODALITIES
from fne.encoders.writer import StoreWriter, writing
from fne.scenes.prepare import check_unseen
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

if TYPE_CHECKING:
    from fne.encoders.image_encoder import ImageEncoder
    from fne.encoders.text_encoder import TextEncoder

IMAGE_CHUNK, TEXT_CHUNK = 256, 2048
"""Rows between two lines of the journal: what a kill can cost, a few seconds of work."""
TEXT_BATCH = 64
"""Captions per batch; sorted by length within a chunk, so that hardly any of a batch is padding."""
_PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "pillow")


def run(
    manifest_folder: Path, encoder: Mapping[str, Any], modality: str, out: Path, threads: int, device: str = "cpu"
) -> None:
    """Extract the features of all images, or of all captions, of a prepared data set.

    Rows are written in the order of the manifest. Batches are the same however often the work is interrupted, so a
    resumed store is byte-identical to an uninterrupted one on the same machine and thread count.

    Args:
        manifest_folder: Folder of the prepared data.
        encoder: ``encoders.image`` or ``encoders.text`` of the resolved config.
        modality: ``"image"`` or ``"text"``.
        out: The store to make; unfinished work lies in ``<out>.partial``.
        threads: CPU threads, of the encoder and of the decoding.
        device: ``"cpu"`` or ``"cuda"``.

    Raises:
        UserError: Anything about the data or the encoder that cannot be used.
    """
    if modality not in MODALITIES:
        raise bad_input("no such modality", key="modality", value=modality, allowed=MODALITIES)
    manifest = Manifest.open(manifest_folder)
    if "grid" in encoder:
        check_unseen(manifest_folder)
    paths = manifest.image_paths()
    if modality == "image":
        for path in paths:
            if not path.is_file():
                raise bad_input("image is missing", file=path, hint=say_nearest(path, cutoff=1.0))

    import torch

    from fne.encoders.encoders import ImageEncoder, load

    torch.set_num_threads(threads)
    model = load(encoder, modality, device)
    header = {
        "modality": modality,
        "encoder": {**model.record(), "section": canonical(encoder, model.checkpoint)},
        "preprocessing": model.preprocessing(),
        "level": encoder["level"],
        "pooling": model.pooling or encoder["pooling"],
        "dtype": encoder["dtype"],
        "device": device,
        "chunk": IMAGE_CHUNK if modality == "image" else TEXT_CHUNK,
        "data_fingerprint": manifest.fingerprint(modality),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }
    if isinstance(model, ImageEncoder):
        with writing(out, header, manifest.column("id")) as writer:
            _images(model, paths, writer, threads)
            writer.finish()
    else:
        ids = manifest.column("caption_id")
        with writing(out, header, ids) as writer:
            writer.finish(_texts(model, manifest.column("text"), ids, writer))


def _images(model: ImageEncoder, paths: Sequence[Path], writer: StoreWriter, threads: int) -> None:
    with Progress("extract images", len(paths), "images", done=writer.done) as progress:
        ahead = 4 * 16 if model.device == "cpu" else 4 * 128
        pixels = decoded(paths[writer.done :], model.prepare, threads, ahead)
        while writer.done < len(paths):
            chunk: list[np.ndarray] = []
            for batch in _batches(pixels, min(IMAGE_CHUNK, len(paths) - writer.done), model):
                chunk.extend(model.encode(batch))
                progress.add(len(batch))
            writer.append(chunk)


def _batches(pixels: Iterator[np.ndarray], count: int, model: ImageEncoder) -> Iterator[np.ndarray]:
    """Stack the next ``count`` pictures into batches; pictures of another size begin a new batch."""
    batch: list[np.ndarray] = []
    for _ in range(count):
        picture = next(pixels)
        if batch and (picture.shape != batch[0].shape or len(batch) == model.batch_size(picture)):
            yield np.stack(batch)
            batch = []
        batch.append(picture)
    yield np.stack(batch)


def _texts(model: TextEncoder, texts: Sequence[str], ids: Sequence[str], writer: StoreWriter) -> dict[str, Any]:
    """Embed every different caption once, where it first occurs; later rows copy it from the store."""
    lengths, unknown = model.count(texts)
    if 0 in lengths:
        raise bad_input(
            "the tokenizer finds no word in this caption",
            file=model.where,
            key=ids[lengths.index(0)],
            value=texts[lengths.index(0)],
        )
    first: dict[str, int] = {}
    source = [first.setdefault(text, row) for row, text in enumerate(texts)]
    with Progress("extract captions", len(texts), "captions", done=writer.done) as progress:
        while writer.done < len(texts):
            start, end = writer.done, min(writer.done + TEXT_CHUNK, len(texts))
            new = sorted((row for row in range(start, end) if source[row] == row), key=lambda row: (lengths[row], row))
            made: dict[int, np.ndarray] = {}
            for begin in range(0, len(new), TEXT_BATCH):
                rows = new[begin : begin + TEXT_BATCH]
                made.update(zip(rows, model.encode([texts[row] for row in rows]), strict=True))
                progress.add(len(rows))
            progress.add(end - start - len(new))
            writer.append([made[row] if row in made else writer.read(row) for row in source[start:end]])
    truncated = [row for row, length in enumerate(lengths) if length > model.max_length]
    return {
        "captions": {
            "different": len(first),
            "longest": max(lengths, default=0),
            "truncated": len(truncated),
            "truncated_first": [ids[row] for row in truncated[:5]],
            "unknown_tokens": sum(unknown),
            "tokens": sum(lengths),
        }
    }
