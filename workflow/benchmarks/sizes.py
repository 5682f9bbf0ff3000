"""What a study costs at the size of Flickr30K, COCO and CC3M: seconds and memory of every step, and how they grow.

Synthetic corpora: tiny images behind shared files, captions of few words, features that agree within a pair. Extraction
is run on 50,000 images and captions; the stores of the corpora are written as it would write them. Every step is a
process of its own. Memory is read from the system while it runs: *resident* counts pages of mapped files, which the
system takes back when it needs them; *anonymous* does not. Growth is the exponent b in cost ~ images^b between the two
largest of three corpora that are four times as large each. What it prints is kept in ``sizes.md``:

    python workflow/benchmarks/sizes.py /large/disk > workflow/benchmarks/sizes.md
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fne.data.manifest import Manifest
from fne.encoders.shipped import SHIPPED
from fne.encoders.writer import writing
from fne.results.calibration_tables import calibration_files
from fne.study import paths
from fne.study.api import load_study
from fne.utils.progress import Progress
from fne.utils.provenance import cpu_model

SIDES = ("image", "text")
DIM, CHUNK, FILES = 512, 4096, 1000
VARIANTS = ("hardest_in_batch", "fne")
WORDS = ("a", "red", "blue", "green", "small", "large", "circle", "square", "triangle", "left", "right", "above", "of")
INTERVAL = 0.02
"""Seconds between two looks at the memory of a step."""


@dataclass(frozen=True)
class Size:
    """A corpus: images of each split, and captions of each image."""

    train: int
    val: int
    test: int
    captions: int

    @property
    def images(self) -> int:
        return self.train + self.val + self.test


SIZES = {
    "flickr30k": Size(29_000, 1_014, 1_000, 5),
    "coco": Size(113_287, 5_000, 5_000, 5),
    "cc3m/16": Size(187_500, 1_000, 1_000, 1),
    "cc3m/4": Size(750_000, 1_000, 1_000, 1),
    "cc3m": Size(3_000_000, 1_000, 1_000, 1),
}
EXTRACTED = Size(48_000, 1_000, 1_000, 1)
GROWTH = ("cc3m/4", "cc3m")


@dataclass(frozen=True)
class Cost:
    """Of one step: seconds elapsed and of processors, and greatest memory of its processes together, in MiB."""

    wall: float
    cpu: float
    resident: float
    anonymous: float


def main() -> None:
    """Measure the sizes that are named and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where corpora, features and results go; 25 GB for all sizes")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--extracted", type=int, default=EXTRACTED.images, help="images that are really extracted")
    parser.add_argument("--shrink", type=int, default=1, help="divide the training splits by it, to try this script")
    parser.add_argument("--relevance", type=Path, help="COCO's relevance files (default: of the package eccv_caption)")
    given = parser.parse_args()
    root = given.folder.resolve()
    link_project(root)
    extracted = Size(given.extracted - 2000, 1000, 1000, 1)
    measured = {"extraction": extraction(root, extracted)}
    for name in given.sizes:
        size = SIZES[name]
        size = Size(size.train // given.shrink, size.val, size.test, size.captions)
        relevance = relevance_folder(given.relevance) if name == "coco" else None
        measured[name] = whole(root, name.replace("/", "_"), size, relevance)
        print_record(measured, given, sys.stderr)
    print_record(measured, given, sys.stdout)


def link_project(root: Path) -> None:
    """A project beside the corpora: the variants and defaults of this one, studies of its own."""
    (root / "ablations" / "studies").mkdir(parents=True, exist_ok=True)
    for entry in Path("ablations").resolve().iterdir():
        if entry.name != "studies" and not (root / "ablations" / entry.name).exists():
            (root / "ablations" / entry.name).symlink_to(entry)
    images = root / "files"
    if not images.is_dir():
        images.mkdir()
        generator = np.random.default_rng(0)
        for number in range(FILES):
            pixels = generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{number:03d}.png")


def relevance_folder(given: Path | None) -> Path:
    """The folder that holds COCO's relevance files."""
    if given is not None:
        return given
    import eccv_caption

    return Path(eccv_caption.__file__).parent / "data"


def rows(size: Size) -> Iterator[tuple[str, str, int]]:
    """File, split and number of every image; a thousand images share a folder, of which all are one."""
    number = 0
    for split in paths.SPLITS:
        for _ in range(getattr(size, split)):
            yield f"{number // FILES:05d}/{number % FILES:03d}.png", split, number
            number += 1


def captions(generator: np.random.Generator, count: int) -> list[str]:
    """Sentences of eight words, hardly ever twice the same."""
    chosen = generator.integers(0, len(WORDS), (count, 8))
    return [" ".join(WORDS[i] for i in row) for row in chosen.tolist()]


def write_corpus(folder: Path, size: Size) -> None:
    """``pairs.csv`` and the folders of images."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-size.images // FILES)):
        if not (link := folder / "images" / f"{number:05d}").exists():
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(folder.parent / "files")
    generator = np.random.default_rng(1)
    with open(folder / "pairs.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "split"])
        for image, split, _ in rows(size):
            table.writerows([image, text, split] for text in captions(generator, size.captions))


def write_coco(folder: Path, size: Size, relevance: Path) -> None:
    """COCO's corpus in Karpathy's schema; images and captions of the test split have the ids of the relevance files."""
    import eccv_caption

    package = eccv_caption.Metrics()
    sentids = [int(sentid) for sentid in package.coco_ids]
    names = [f"COCO_val2014_{package.coco_gts['t2i'][c][0]:012d}.png" for c in sentids[:: size.captions]]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    generator, entries = np.random.default_rng(1), []
    (folder / "images" / "test").mkdir(exist_ok=True)
    for file, split, number in rows(size):
        ids = range(10**8 + number * size.captions, 10**8 + (number + 1) * size.captions)
        if split == "test":
            place = number - size.train - size.val
            shutil.copyfile(folder.parent / "files" / Path(file).name, folder / "images" / "test" / names[place])
            file, ids = f"test/{names[place]}", sentids[place * size.captions : (place + 1) * size.captions]
        elif not (link := folder / "images" / Path(file).parent).exists():
            link.symlink_to(folder.parent / "files")
        texts = captions(generator, size.captions)
        sentences = [{"raw": text, "sentid": i, "imgid": number} for text, i in zip(texts, ids, strict=True)]
        entries.append({"filepath": str(Path(file).parent), "filename": Path(file).name, "split": split,
                        "imgid": number, "sentences": sentences})  # fmt: skip
    (folder / "pairs.json").write_text(json.dumps({"dataset": "coco", "images": entries}), encoding="utf-8")


def write_study(root: Path, name: str, annotations: Path, relevance: Path | None) -> None:
    """A study of two variants, one seed and one epoch."""
    encoders = {side: {"checkpoint": str(SHIPPED / side), "dtype": "float16", "pooling": "mean"} for side in SIDES}
    study: dict[str, Any] = {
        "title": f"Costs at the size of {name}",
        "question": "What does every step cost?",
        "regime": "head",
        "data": {"dataset": "coco" if relevance else "custom", "annotations": str(annotations),
                 "images": str(annotations.parent / "images")},
        "encoders": encoders,
        "set": {"train": {"epochs": 1}, "warmup": {"epochs": 0}},
        "variants": list(VARIANTS),
        "seeds": [0],
        "block": 1,
        "baseline": VARIANTS[0],
        "primary": {"metric": "rsum", "protocol": "own"},
    }  # fmt: skip
    if relevance:
        study["set"]["evaluation"] = {"relevance": {"eccv": str(relevance), "cxc": str(relevance)}}
        study["data"]["counts"] = {"train": None, "val": None, "test": None}
    (root / "ablations" / "studies" / f"{name}.yaml").write_text(json.dumps(study, indent=1), encoding="utf-8")


def extraction(root: Path, size: Size) -> dict[str, Any]:
    """Images and captions per second through the shipped encoders, on one thread and on all."""
    write_corpus(root / "extracted", size)
    write_study(root, "extracted", root / "extracted" / "pairs.csv", None)
    result = {"prepare": step(root, "prepare", "extracted"), "images": size.images}
    study = load_study("extracted", {}, root)
    for side in SIDES:
        for threads in dict.fromkeys((1, os.cpu_count() or 1)):
            shutil.rmtree(root / paths.features_folder(study, side), ignore_errors=True)
            label = f"extract {side}, {threads} threads"
            result[label] = step(root, "extract", "extracted", "--modality", side, "--threads", str(threads))
    return result


def whole(root: Path, name: str, size: Size, relevance: Path | None) -> dict[str, Any]:
    """Every step of a study of this size."""
    if relevance:
        write_coco(root / name, size, relevance)
    else:
        write_corpus(root / name, size)
    write_study(root, name, root / name / ("pairs.json" if relevance else "pairs.csv"), relevance)
    result: dict[str, Any] = {"images": size.images, "captions": size.images * size.captions}
    result["prepare"] = step(root, "prepare", name)
    write_stores(root, name)
    study = load_study(name, {}, root)
    for variant in VARIANTS:
        job = ("--variant", variant, "--block", "0", "--threads", "1")
        result[f"train {variant}"] = step(root, "train", name, *job)
        for split in ("val", "test"):
            result[f"rank {variant} {split}"] = step(root, "rank", name, *job, "--split", split)
            result[f"evaluate {variant} {split}"] = step(root, "evaluate", name, *job[:4], "--split", split)
        if any(file.parent.parent.name == variant for file in calibration_files(study)):
            result[f"calibrate {variant}"] = step(root, "calibrate", name, *job)
    for verb in ("aggregate", "compare", "audit", "tables", "figures", "report"):
        result[verb] = step(root, verb, name)
    return result


def write_stores(root: Path, name: str) -> None:
    """The feature stores of a corpus, as an extraction writes them: an image and its captions share a direction."""
    study, of = load_study(name, {}, root), load_study("extracted", {}, root)
    manifest = Manifest.open(root / paths.data_folder(study))
    for side in SIDES:
        out = root / paths.features_folder(study, side)
        captions_of = np.array(manifest.column("captions"))
        owner = np.arange(len(captions_of)) if side == "image" else np.repeat(np.arange(len(captions_of)), captions_of)
        header = json.loads((root / paths.features_folder(of, side) / "manifest.json").read_text(encoding="utf-8"))
        for key in ("schema", "rows", "dim", "tokens_total", "sha256", "captions", "shards"):
            header.pop(key, None)
        header |= {"data_fingerprint": manifest.fingerprint(side)}
        shared = np.random.default_rng(2).standard_normal((65_536, DIM), dtype=np.float32)
        noise = np.random.default_rng(3 if side == "image" else 4)
        with writing(out, header, len(owner)) as writer:
            with Progress(f"write {name} {side}", len(owner), "rows", done=writer.done) as progress:
                for start in range(0, len(owner), CHUNK):
                    place = owner[start : start + CHUNK]
                    own = shared[place % 65_536] + shared[(place // 65_536 * 31 + place * 7) % 65_536]
                    writer.append(own + noise.standard_normal(own.shape, dtype=np.float32))
                    progress.add(len(place))
            writer.finish()


def step(root: Path, verb: str, study: str, *words: str) -> Cost:
    """Run one verb and watch its memory.

    Raises:
        SystemExit: It failed.
    """
    command = [sys.executable, "-m", "fne", verb, "--root", str(root), "--study", study, *words]
    log = root / "logs" / f"{study}.{verb}.log"
    log.parent.mkdir(exist_ok=True)
    began, before = time.monotonic(), os.times()
    with open(log, "ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=Path.cwd())
        peak = {"VmRSS": 0, "RssAnon": 0}
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        process.wait()
        watcher.join()
    wall, after = time.monotonic() - began, os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: see {log}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    cost = Cost(wall, cpu, peak["VmRSS"] / 1024, peak["RssAnon"] / 1024)
    print(f"{study} {verb} {' '.join(words)}: {cost}", file=sys.stderr)
    return cost


def watch(process: subprocess.Popen[bytes], peak: dict[str, int]) -> None:
    """Note the greatest memory, in KiB, of a process and its children together until it ends.

    A child counts from the second look on: until it runs a program of its own it has its parent's memory.
    """
    known: list[int] = []
    while process.poll() is None:
        now, before, known = dict.fromkeys(peak, 0), known, children(process.pid)
        for pid in [process.pid, *(child for child in known if child in before)]:
            for key, value in memory(pid).items():
                now[key] += value
        for key, value in now.items():
            peak[key] = max(peak[key], value)
        time.sleep(INTERVAL)


def memory(pid: int) -> dict[str, int]:
    """Resident and anonymous KiB of a process; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {key: int(value.split()[0]) for key, value in pairs if key in ("VmRSS", "RssAnon")}


def children(pid: int) -> list[int]:
    """The processes that a process started, and theirs."""
    result = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            own = [int(child) for child in file.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        result += own
        for child in own:
            result += children(child)
    return result


def growth(small: Cost, large: Cost, ratio: float) -> tuple[float, float]:
    """Exponents of processor seconds and of anonymous memory between two sizes, ``ratio`` apart."""
    seconds, anonymous = (math.log(b / a) / math.log(ratio) for a, b in (
        (small.cpu, large.cpu), (small.anonymous, large.anonymous)))  # fmt: skip
    return seconds, anonymous


def print_record(measured: Mapping[str, Mapping[str, Any]], given: argparse.Namespace, stream: Any) -> None:
    """The record, in Markdown."""

    def say(text: str = "") -> None:
        print(text, file=stream)

    shrunk = f" Training splits divided by {given.shrink}: no record." if given.shrink > 1 else ""
    say("# Steps at the size of Flickr30K, COCO and CC3M\n")
    say(f"Synthetic corpora, features of {DIM} dimensions in float16, one epoch of heads (batch 128). {cpu_model()}, "
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end. Elapsed seconds depend on what else "
        "runs; seconds of processors and memory hardly do. Resident memory counts pages of mapped files, anonymous "
        f"memory does not. Made by `python workflow/benchmarks/sizes.py FOLDER`.{shrunk}\n")  # fmt: skip
    of = measured["extraction"]
    say("## Extraction\n")
    say(f"{of['images']:,} images of 48 pixels and as many captions through the shipped tiny encoders.\n")
    say("| step | rows per second (elapsed) | CPU ms per row | elapsed s | peak resident MiB | anonymous MiB |")
    say("|---|--:|--:|--:|--:|--:|")
    for label, cost in of.items():
        if label.startswith("extract"):
            say(f"| {label} | {of['images'] / cost.wall:.0f} | {1000 * cost.cpu / of['images']:.2f} | {cost.wall:.1f} "
                f"| {cost.resident:.0f} | {cost.anonymous:.0f} |")  # fmt: skip
    for name, costs in measured.items():
        if name == "extraction":
            continue
        say(f"\n## {name}: {costs['images']:,} images, {costs['captions']:,} captions\n")
        say("| step | elapsed s | CPU s | peak resident MiB | anonymous MiB |\n|---|--:|--:|--:|--:|")
        for label, cost in costs.items():
            if isinstance(cost, Cost):
                say(f"| {label} | {cost.wall:.1f} | {cost.cpu:.1f} | {cost.resident:.0f} | {cost.anonymous:.0f} |")
    if all(name in measured for name in GROWTH):
        small, large = (measured[name] for name in GROWTH)
        ratio = large["images"] / small["images"]
        say(f"\n## Growth from {GROWTH[0]} to {GROWTH[1]} ({ratio:.2f} times the images)\n")
        say("| step | exponent of CPU s | exponent of anonymous memory |\n|---|--:|--:|")
        for label, cost in large.items():
            if isinstance(cost, Cost):
                say("| {} | {:.2f} | {:.2f} |".format(label, *growth(small[label], cost, ratio)))


if __name__ == "__main__":
    main()
