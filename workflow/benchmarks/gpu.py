"""Speed of end-to-end training on a GPU: images per second, share of the matrix peak, memory, and host syncs.

    python workflow/benchmarks/finetune.py --out workflow/benchmarks/finetune.md

ViT-B/16 at 384 pixels and BERT-base, built from their configurations with random weights (speed does not depend on
them), trained by the study's own engine on random images through its own loaders. The baseline is the same engine in
float32 with eager attention and one host sync for every anchor, as code that loops over anchors has.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from fne.steps.prepare import run as prepare
from fne.study import paths
from fne.study.api import data_section, load_study, resolve
from fne.training.engine import Engine
from fne.training.pairs import open_corpus
from fne.utils.files import write_text

ROOT = Path(__file__).resolve().parents[2]
WORDS = "a man woman dog ball red blue green two three on in the of with street water grass plays runs".split()
STUDY = """
title: Benchmark
question: How fast is it?
regime: finetune
as_released: true
data: {{dataset: custom, annotations: {root}/dataset.json, images: {root}/images}}
encoders: {{image: {{checkpoint: {root}/vit}}, text: {{checkpoint: {root}/bert}}}}
set: {{finetune: {{image_size: {size}}}, train: {{epochs: 16, epoch_unit: images}}, memory: {{size: 8192}}}}
tuned: null
variants: [fne]
seeds: [0]
block: 1
baseline: fne
primary: {{metric: rsum, protocol: own}}
"""


def make_project(root: Path, images: int, size: int, tiny: bool) -> None:
    """Random images and captions, and the two encoders with random weights."""
    import transformers as t
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    draw = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    entries = []
    for number in range(images):
        name = f"{number}.jpg"
        coarse = Image.fromarray(draw.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(root / "images" / name, quality=90)
        raw = " ".join(draw.choice(WORDS, 14))
        split = "test" if number < 8 else "val" if number < 16 else "train"
        sentence = {"raw": f"{raw} {number}", "tokens": [], "imgid": number, "sentid": number}
        entry = {"filename": name, "imgid": number, "split": split, "sentids": [number], "sentences": [sentence]}
        entries.append(entry)
    (root / "dataset.json").write_text(json.dumps({"dataset": "random", "images": entries}))
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    small = shape if tiny else {}
    t.ViTModel(t.ViTConfig(image_size=size, patch_size=16, **small)).save_pretrained(root / "vit")
    t.BertModel(t.BertConfig(**small)).save_pretrained(root / "bert")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": size, "width": size}}
    (root / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained(root / "bert")
    shutil.copytree(ROOT / "ablations", root / "ablations")
    (root / "ablations" / "studies" / "benchmark.yaml").write_text(STUDY.format(root=root, size=size))
    study = load_study("benchmark", root=root)
    prepare(data_section(study), root / paths.data_folder(study))


def matrix_peak(device: torch.device, side: int) -> float:
    """Measured floating-point operations a second of a bfloat16 matrix product."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    wait(device)
    begun = time.perf_counter()
    for _ in range(10):
        a @ b
    wait(device)
    return 10 * 2 * side**3 / (time.perf_counter() - begun)


def wait(device: torch.device) -> None:
    """Wait until the device has finished what it received."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sync_for_every_anchor(engine: Engine) -> None:
    """What the baseline does between scores and loss: reads a number of every anchor back, one by one."""
    select = engine.rule.strategy.select

    def slow(similarities: torch.Tensor, *rest: Any) -> Any:
        for row in similarities.flatten(0, -2):
            row.max().item()
        return select(similarities, *rest)

    engine.rule.strategy.select = slow


def measure(
    root: Path, batch: int, steps: int, workers: int, device: torch.device, baseline: bool, peak: float
) -> dict[str, Any]:
    """Train in the main phase and time it.

    Returns:
        Images per second, milliseconds a step, share of the matrix peak, peak memory in GiB, and host syncs in a step
        (None where the device cannot tell).
    """
    changes: dict[str, Any] = {"train.batch_size": batch, "finetune.precision": "bfloat16"}
    if baseline:
        changes |= {"finetune.precision": "float32", "finetune.attention": "eager"}
    study = load_study("benchmark", changes, root)
    config = resolve(study, "fne")
    train, val, _ = open_corpus(study, root, workers).training(config, device)
    engine = Engine(config, [0], train, val, device)
    if baseline:
        sync_for_every_anchor(engine)
    engine.step = engine.steps  # the first main epoch
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    marks: list[float] = []
    first = engine.steps + 4
    counter = FlopCounterMode(display=False)
    syncs = None

    def after(score: float | None) -> None:
        nonlocal syncs
        done = engine.step
        if done == first - 2:
            counter.__enter__()
        elif done == first - 1:
            counter.__exit__(None, None, None)
        elif done in (first, first + steps):
            wait(device)
            marks.append(time.perf_counter())
        if done == first + steps and device.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")  # one more step: a host sync raises
        elif done > first + steps:
            syncs = 0
        if done > first + steps:
            raise StopIteration

    try:
        engine.run(after)
    except StopIteration:
        pass
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        syncs = str(error).splitlines()[0]
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    seconds = (marks[1] - marks[0]) / steps
    return {
        "what": "baseline" if baseline else "fne",
        "batch": batch,
        "images_per_second": batch / seconds,
        "ms_per_step": 1000 * seconds,
        "share_of_peak": counter.get_total_flops() / seconds / peak,
        "memory_gib": torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None,
        "host_syncs": syncs if device.type == "cuda" else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 256], help="the first one has a baseline")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=12, help="processes that decode images")
    parser.add_argument("--tiny", action="store_true", help="tiny encoders, to try the script itself on a CPU")
    parser.add_argument("--out", type=Path, help="a Markdown file for the record")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not given.tiny:
        parser.error("torch sees no CUDA device here; --tiny tries the script without one")
    size, side = (48, 256) if given.tiny else (384, 8192)
    peak = matrix_peak(device, side)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_project(root, (given.steps + 8) * max(given.batches) + 16, size, given.tiny)
        rows = [measure(root, given.batches[0], given.steps, given.workers, device, True, peak)]
        rows += [measure(root, batch, given.steps, given.workers, device, False, peak) for batch in given.batches]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    lines = [
        f"{name}, torch {torch.__version__}, measured bfloat16 matrix peak {peak / 1e12:.0f} TFLOP/s.",
        "",
        "| what | batch | images/s | ms a step | share of peak | peak memory, GiB | host syncs in a step |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        memory = "" if row["memory_gib"] is None else f"{row['memory_gib']:.1f}"
        syncs = "" if row["host_syncs"] is None else row["host_syncs"]
        lines.append(
            f"| {row['what']} | {row['batch']} | {row['images_per_second']:.1f} | {row['ms_per_step']:.1f} | "
            f"{100 * row['share_of_peak']:.1f} % | {memory} | {syncs} |"
        )
    ratio = rows[1]["images_per_second"] / rows[0]["images_per_second"]
    lines += ["", f"At batch {given.batches[0]}: {ratio:.1f} times the baseline."]
    print("\n".join(lines))
    if given.out:
        write_text(given.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
