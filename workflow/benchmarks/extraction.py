"""Extraction against a bare loop of transformers: CPU time per image and per caption, in turns in one process.

The bare loop opens an image, calls the image processor on a batch, runs the model and keeps numpy; of captions it
tokenizes, pads and runs batches in their order. ``fne extract`` does the same and sorts, checks, hashes and writes
what a kill cannot undo. Features of both have to agree:

    python workflow/benchmarks/extraction.py FOLDER
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from fne.data.items import Item
from fne.data.manifest import SPLITS, Manifest
from fne.data.truth import Truth
from fne.data.writing import staging, write_prepared
from fne.encoders.encoders import load
from fne.encoders.shipped import SHIPPED
from fne.encoders.store import Features
from fne.scenes.pretrain_image import _write_processor
from fne.scenes.pretrain_text import build_tokenizer
from fne.steps import extract
from fne.utils.provenance import cpu_model

WORDS = ("a", "red", "blue", "green", "small", "large", "circle", "square", "triangle", "left", "right", "above", "of")
BATCH = {"image": 128, "text": 64}


def captions(count: int, least: int, most: int) -> list[str]:
    """Sentences of so many words."""
    draw = np.random.default_rng(1)
    lengths = draw.integers(least, most + 1, count).tolist()
    return [" ".join(WORDS[word] for word in draw.integers(0, len(WORDS), length)) for length in lengths]


def corpus(folder: Path, count: int, words: tuple[int, int], size: tuple[int, int], suffix: str) -> Manifest:
    """A prepared data set of images of a size, blurred noise, with a caption each."""
    if not folder.is_dir():
        draw, texts = np.random.default_rng(0), captions(count, *words)
        names = [f"{number:06d}.{suffix}" for number in range(count)]
        splits = ["train"] * (count - 2) + ["val", "test"]
        with staging(folder) as temporary:
            (temporary / "images").mkdir()
            for name in names:
                noise = draw.integers(0, 256, (size[1] // 4, size[0] // 4, 3), np.uint8)
                Image.fromarray(noise).resize(size).save(temporary / "images" / name)
            none = np.zeros(0, np.int32)
            truths = {}
            for split in SPLITS:
                own = np.arange(splits.count(split), dtype=np.int32)
                truths[split] = Truth("equal_captions", np.stack([own, own], 1), none, none)
            items = [Item(name, name, split, [text]) for name, split, text in zip(names, splits, texts, strict=True)]
            write_prepared(temporary, folder, {"dataset": "tiny"}, "images", items, truths, "0" * 64)
    return Manifest.load(folder)


def checkpoints(folder: Path) -> tuple[Path, Path]:
    """Random encoders: a small ViT of 224 pixels, and a BERT of the size of MiniLM's."""
    image, text = folder / "vit", folder / "minilm"
    if not text.is_dir():
        vit = transformers.ViTConfig(hidden_size=192, num_hidden_layers=4, num_attention_heads=3, intermediate_size=768)
        transformers.ViTModel(vit).save_pretrained(image)
        _write_processor(image, 224)
        bert = transformers.BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                                       intermediate_size=1536)  # fmt: skip
        transformers.BertModel(bert).save_pretrained(text)
        build_tokenizer([*WORDS]).save_pretrained(text)
    return image, text


def bare_images(manifest: Manifest, model: Any, processor: Any, batch: int) -> Iterator[np.ndarray]:
    """Mean of the patches, batch after batch."""
    files = manifest.image_paths()
    for start in range(0, len(files), batch):
        images = [Image.open(file).convert("RGB") for file in files[start : start + batch]]
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            yield model(pixel_values=pixels).last_hidden_state[:, 1:].mean(1).numpy()


def bare_texts(manifest: Manifest, model: Any, tokenizer: Any, batch: int) -> Iterator[np.ndarray]:
    """Mean of the tokens, batch after batch."""
    texts = manifest.column("text")
    for start in range(0, len(texts), batch):
        tokens = tokenizer(texts[start : start + batch], padding=True, truncation=True, max_length=64,
                           return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            mask = tokens["attention_mask"]
            hidden = model(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state
            yield ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()


def measure(manifest: Manifest, folder: Path, modality: str, rounds: int, threads: int) -> tuple[float, float]:
    """Medians of the CPU seconds of the bare loop and of extraction, without those of loading the encoder."""
    section: dict[str, Any] = {"checkpoint": str(folder), "revision": None, "level": "pooled", "pooling": "mean",
                               "dtype": "float32"}  # fmt: skip
    batch, model = BATCH[modality], transformers.AutoModel.from_pretrained(folder).eval()
    if modality == "image":
        batch = min(batch, 8 * 224**2 // model.config.image_size**2)  # as many as extraction takes at once
        bare, before = bare_images, transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    else:
        section["max_length"] = 64
        bare, before = bare_texts, transformers.AutoTokenizer.from_pretrained(folder)
    out, seconds = manifest.folder.with_suffix(".features"), []
    for _ in range(rounds):
        began = time.process_time()
        plain = np.concatenate([*bare(manifest, model, before, batch)])
        between = time.process_time()
        load(section, modality)
        loaded = time.process_time()
        extract.run(manifest.folder, section, modality, out, threads)
        seconds.append((between - began, time.process_time() - loaded - (loaded - between)))
        np.testing.assert_allclose(Features.open(out).rows(slice(None)), plain, rtol=1e-3, atol=1e-4)
        shutil.rmtree(out)
    return tuple(np.median(seconds, axis=0))


def compare(folder: Path, items: int, rounds: int, threads: int) -> Iterator[tuple[str, float, float]]:
    """What was encoded, and milliseconds of CPU per item of the bare loop and of extraction.

    Args:
        folder: Where images and features go.
        items: Images, or captions, of the tiny encoders; an eighth of the others.
        rounds: Of which medians are taken.
        threads: Of extraction.
    """
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    image, text = checkpoints(folder / "encoders")
    small = corpus(folder / "small", items, (8, 8), (48, 48), "png")
    large = corpus(folder / "large", max(3, items // 8), (5, 40), (500, 376), "jpg")
    for label, manifest, checkpoint, modality in (
        ("images of 48 pixels, the shipped encoder", small, SHIPPED / "image", "image"),
        ("JPEG of 500 x 376, a small ViT of 224 pixels", large, image, "image"),
        ("captions of 8 words, the shipped encoder", small, SHIPPED / "text", "text"),
        ("captions of 5 to 40 words, a BERT of MiniLM's size", large, text, "text"),
    ):
        bare, own = measure(manifest, checkpoint, modality, rounds, threads)
        count = len(manifest.column("id"))
        yield label, 1000 * bare / count, 1000 * own / count


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where images and features go")
    parser.add_argument("--items", type=int, default=8000, help="images, or captions, of the tiny encoders")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_model()}, {given.threads} threads, torch {torch.__version__}, transformers {transformers.__version__}")
    for label, bare, own in compare(given.folder, given.items, given.rounds, given.threads):
        print(f"  {label:52} bare {bare:7.3f} ms  fne {own:7.3f} ms  {own / bare:5.2f} x bare", flush=True)


if __name__ == "__main__":
    main()
