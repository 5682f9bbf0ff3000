"""Extraction: rows in manifest order, independent of batches, the same store however often it is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from fne.data.items import Item
from fne.data.manifest import Manifest
from fne.data.truth import Truth
from fne.data.writing import staging, write_prepared
from fne.encoders import text_encoder
from fne.encoders.encoders import load
from fne.encoders.store import Features, partial_folder
from fne.encoders.text_encoder import TextEncoder
from fne.steps import extract
from fne.utils.errors import UserError
from tests.encoders.conftest import section

MIXED = ["a red star", "a blue circle on snow", "a red star", "two zebras", "a star", "a blue circle on snow"]


def corpus(folder: Path, texts: list[str], files: dict[str, Image.Image]) -> Manifest:
    """A prepared data set of the given captions, one picture per two captions."""
    names = list(files)
    rows = [number * len(names) // len(texts) for number in range(len(texts))]
    splits = ["train"] * (len(names) - 2) + ["val", "test"]
    with staging(folder) as temporary:
        (temporary / "images").mkdir()
        for name, picture in files.items():
            picture.save(temporary / "images" / name)
        none = np.zeros(0, np.int32)
        truths = {}
        for split in ("train", "val", "test"):
            own = [row for row, name in enumerate(splits) if name == split]
            inside = [own.index(row) for row in rows if row in own]
            pairs = np.array(sorted((image, caption) for caption, image in enumerate(inside)), np.int32)
            truths[split] = Truth("equal_captions", pairs, none, none)
        captions = [[text for row, text in zip(rows, texts, strict=True) if row == at] for at in range(len(names))]
        content = [Item(name, name, *rest) for name, *rest in zip(names, splits, captions, strict=True)]
        write_prepared(temporary, folder, {"dataset": "tiny"}, "images", content, truths, "0" * 64)
    return Manifest.load(folder)


def grey(value: int, mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (20, 30), (value, 255 - value, 7)).convert(mode)


@pytest.fixture
def small(tmp_path: Path) -> Manifest:
    files = {"a.png": grey(10), "b.jpg": grey(90), "c.png": grey(250)}
    return corpus(tmp_path / "small", MIXED, files)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_image_rows_are_the_features_of_their_own_files(
    prepared: Path, checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "IMAGE_CHUNK", 10)
    folder, manifest = checkpoint("vit"), Manifest.load(prepared)
    extract.run(prepared, section(folder), "image", tmp_path / "s", 2)
    features = Features.open(tmp_path / "s", manifest.fingerprint("image"), modality="image", encoder=section(folder))
    model = transformers.AutoModel.from_pretrained(folder).eval()
    assert len(features) == len(manifest.column("id")) == 32
    for row, path in enumerate(manifest.image_paths()):
        pixels = torch.from_numpy(np.asarray(Image.open(path), np.float32) / 127.5 - 1).permute(2, 0, 1)
        requested = model(pixel_values=pixels[None]).last_hidden_state[0, 1:].mean(0).detach().numpy()
        np.testing.assert_allclose(features.rows([row])[0], requested, rtol=1e-4, atol=1e-5)


def row_of(features: Features, row: int) -> np.ndarray:
    return features.rows([row])[0] if features.level == "pooled" else features.padded([row])[0][0]


@pytest.mark.parametrize("level", ["pooled", "tokens"])
def test_text_rows_are_the_features_of_their_own_captions(
    small: Manifest, checkpoint: Callable[..., Path], tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "TEXT_CHUNK", 2)  # the repeated caption of row 5 was made in an earlier chunk
    monkeypatch.setitem(text_encoder.BATCH, "cpu", 12)
    folder = checkpoint("bert")
    calls: list[tuple[int, ...]] = []
    settings = section(folder, level=level, max_length=6)
    plain = load(settings, "text")
    made = TextEncoder.encode_tokens

    def watched(self: Any, tokens: list[list[int]]) -> Any:
        calls.extend(map(tuple, tokens))
        return made(self, tokens)

    monkeypatch.setattr(TextEncoder, "encode_tokens", watched)
    extract.run(small.folder, settings, "text", tmp_path / "s", 1)
    monkeypatch.undo()
    expected = map(tuple, plain.tokenize([*dict.fromkeys(MIXED)])[0])
    assert sorted(calls[3:]) == sorted(expected)  # a probe of three, then each different caption once
    features = Features.open(tmp_path / "s", small.fingerprint("text"), modality="text", encoder=settings)
    for row, text in enumerate(MIXED):
        alone = plain.encode([text])[0]
        got = row_of(features, row)
        np.testing.assert_allclose(got, alone, rtol=1e-4, atol=1e-5)
    for row, same in ((0, 2), (1, 5)):
        np.testing.assert_array_equal(row_of(features, row), row_of(features, same))
    summary = features.manifest["captions"]
    assert summary == {
        "different": 4,
        "longest": 7,
        "truncated": 2,
        "truncated_first": ["a.png#1", "c.png#1"],
        "unknown_tokens": 1,
        "tokens": 5 + 7 + 5 + 4 + 4 + 7,
    }


def test_features_do_not_depend_on_the_company_in_a_batch(
    prepared: Path, checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = section(checkpoint("bert"), max_length=40)
    made = []
    for batch, chunk in ((2048, 2048), (100, 30), (1, 11)):
        monkeypatch.setitem(text_encoder.BATCH, "cpu", batch)
        monkeypatch.setattr(extract, "TEXT_CHUNK", chunk)
        extract.run(prepared, settings, "text", tmp_path / str(batch), 1)
        made.append(Features.open(tmp_path / str(batch)).rows(slice(None)))
    assert np.unique(made[0], axis=0).shape[0] > 100
    np.testing.assert_allclose(made[1], made[0], rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(made[2], made[0], rtol=1e-4, atol=2e-6)


KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from fne.steps import extract
from tests.encoders.conftest import section
extract.IMAGE_CHUNK, extract.TEXT_CHUNK = 28, 40
calls, plain = 0, os.fsync
def die(handle):
    global calls
    calls += 1
    if calls == 5:  # values of the third chunk are written, its line of the journal is not
        os.kill(os.getpid(), signal.SIGKILL)
    plain(handle)
os.fsync = die
modality, level, prepared, folder, out = sys.argv[1:]
extract.run(Path(prepared), section(Path(folder), level=level), modality, Path(out), 1)
"""


@pytest.mark.parametrize(("modality", "family", "level"), [("image", "vit", "tokens"), ("text", "bert", "pooled")])
def test_extraction_continues_after_sigkill(
    prepared: Path, checkpoint: Callable[..., Path], tmp_path: Path, modality: str, family: str, level: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(extract, "IMAGE_CHUNK", 28)
    monkeypatch.setattr(extract, "TEXT_CHUNK", 40)
    torch.set_num_threads(1)
    folder, out = checkpoint(family), tmp_path / "killed"
    code = KILLED.format(root=str(Path(__file__).parents[2]))
    call = [sys.executable, "-c", code, modality, level, str(prepared), str(folder), str(out)]
    done = subprocess.run(call, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists() and partial_folder(out).is_dir()
    settings = section(folder, level=level)
    extract.run(prepared, settings, modality, tmp_path / "whole", 1)
    rows: list[int] = []
    kept = extract.StoreWriter.append

    def watched(self: Any, chunk: Any) -> None:
        rows.append(self.done)
        kept(self, chunk)

    monkeypatch.setattr(extract.StoreWriter, "append", watched)
    extract.run(prepared, settings, modality, out, 1)
    assert rows[0] == 14 if modality == "image" else 0 < rows[0] < 160  # two chunks were kept
    assert contents(out) == contents(tmp_path / "whole")
    assert not partial_folder(out).exists()


@pytest.mark.parametrize(("modality", "family"), [("image", "vit"), ("text", "bert")])
@pytest.mark.parametrize("level", ["pooled", "tokens"])
def test_a_store_is_the_same_in_parts_and_on_threads(
    small: Manifest, prepared: Path, checkpoint: Callable[..., Path], tmp_path: Path, modality: str, family: str,
    level: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(extract, "IMAGE_CHUNK", 28)
    monkeypatch.setattr(extract, "TEXT_CHUNK", 44)
    monkeypatch.setattr("fne.encoders.writer.SHARD", 50)
    settings = section(checkpoint(family), level=level, max_length=12)
    extract.run(prepared, settings, modality, tmp_path / "whole", 1)
    whole = contents(tmp_path / "whole")
    extract.run(prepared, settings, modality, tmp_path / "threads", 3)
    assert contents(tmp_path / "threads") == whole
    for parts in (2, 3, 40):  # of 40 some are empty
        out = tmp_path / f"in {parts}"
        for number in range(parts, 0, -1) if parts < 40 else range(1, 41):
            extract.run(prepared, settings, modality, out, 2, shard=(number, parts))
        extract.join(prepared, settings, modality, out, parts)
        assert contents(out) == whole


def test_a_part_that_is_missing_or_of_something_else_is_named(
    small: Manifest, checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "TEXT_CHUNK", 2)
    settings, out = section(checkpoint("bert"), max_length=12), tmp_path / "s"

    def join(said: str) -> None:
        with pytest.raises(UserError, match=said):
            extract.join(small.folder, settings, "text", out, 2)

    extract.run(small.folder, settings, "text", out, 1, shard=(1, 2))
    join(r"s\.parts/2-of-2: no such feature store")
    extract.run(small.folder, settings, "text", out, 1, shard=(2, 2))
    second = extract.part_folder(out, (2, 2))
    manifest, values = (second / "manifest.json").read_text(), (second / "values.bin").read_bytes()
    for file, content, said in (
        ("values.bin", values[:-1] + b"?", "2-of-2/values.bin: .*SHA-256 differs"),
        ("manifest.json", manifest.replace('"chunk": 2', '"chunk": 3'), "2-of-2/manifest.json: chunk: does not belong"),
        ("manifest.json", manifest.replace(small.fingerprint("text"), "0" * 64), "data_fingerprint"),
    ):
        (second / file).write_text(content) if isinstance(content, str) else (second / file).write_bytes(content)
        join(said)
        (second / "manifest.json").write_text(manifest)
        (second / "values.bin").write_bytes(values)
    monkeypatch.setattr(extract, "TEXT_CHUNK", 4)
    join("chunk: does not belong to the other parts")


@pytest.mark.parametrize("kind", ["truncated", "no image", "missing"])
def test_a_broken_picture_is_named(small: Manifest, checkpoint: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    path = small.image_paths()[1]
    if kind == "truncated":
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:1500])
    elif kind == "no image":
        path.write_text("nothing")
    else:
        path.unlink()
    with pytest.raises(UserError) as caught:
        extract.run(small.folder, section(checkpoint("vit")), "image", tmp_path / "s", 1)
    said = {"truncated": "cannot be decoded", "no image": "(not an image", "missing": "image is missing"}[kind]
    assert "b.jpg" in str(caught.value) and said in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.gpu
def test_a_gpu_gives_the_features_of_the_cpu(prepared: Path, checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    for modality, family in (("image", "resnet"), ("image", "vit"), ("text", "bert")):
        made = []
        for device in ("cpu", "cuda"):
            out = tmp_path / f"{family}-{device}"
            extract.run(prepared, section(checkpoint(family)), modality, out, 1, device)
            made.append(Features.open(out).rows(slice(None)))
        np.testing.assert_allclose(made[1], made[0], rtol=1e-3, atol=1e-4)
