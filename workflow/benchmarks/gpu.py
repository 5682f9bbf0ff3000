"""What only a GPU can show, in under eight minutes: correctness first, then ratios, then the paper's setting.

    python workflow/benchmarks/gpu.py --out workflow/benchmarks/gpu.md

1. *Correctness*: heads trained by every rule on the CPU and on the GPU from one seed, and steps in which a host sync
   raises; the fused kernel against the rule in plain torch.
2. *Heads*: steps per second of one and of ten replicates, against the floor, and the fused kernel against the rule.
3. *Whole encoders*: ViT-B/16 at 384 pixels and BERT-base, built from their configurations with random weights (speed
   does not depend on them), trained by the study's own engine through its own loaders: images per second, share of the
   measured bfloat16 peak and memory, at the batch sizes that fit, beside the same engine in float32 with eager
   attention and a host sync for every anchor, as code that loops over anchors has.
4. *The paper's setting*: two epochs of these encoders on scenes drawn at 384 pixels.

Without a GPU the parts run that a CPU can, with tiny sizes, and the record says of everything "not measured".
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from floor import SIZES, Floor, Size
from PIL import Image
from step import VARIANTS, config_of, corpus
from torch.utils.flop_counter import FlopCounterMode

from fne.encoders.shipped import SHIPPED
from fne.steps.prepare import run as prepare
from fne.study import paths
from fne.study.api import Study, data_section, load_study, resolve
from fne.training.data import Split
from fne.training.engine import Engine
from fne.training.pairs import open_corpus
from fne.utils.files import write_text
from fne.utils.provenance import cpu_model

ROOT = Path(__file__).resolve().parents[2]
WORDS = "a man woman dog ball red blue green two three on in the of with street water grass plays runs".split()
STUDY = """
title: Benchmark
question: How fast is it?
regime: finetune
as_released: true
data: {data}
encoders: {{image: {{checkpoint: {root}/vit}}, text: {{checkpoint: {root}/bert}}}}
set:
  finetune: {{image_size: {size}}}
  train: {{epochs: {epochs}, epoch_unit: images, milestones: [1]}}
  memory: {{size: {queue}}}
tuned: null
variants: [fne]
seeds: [0]
block: 1
baseline: fne
primary: {{metric: rsum, protocol: own}}
"""
BATCHES = (32, 64, 128, 256, 512, 1024)


class Stop(Exception):
    """Ends a training from within."""


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20, help="measured steps of whole encoders")
    parser.add_argument("--workers", type=int, default=12, help="processes that decode images")
    parser.add_argument("--out", type=Path, help="a Markdown file for the record")
    given = parser.parse_args()
    cuda = torch.cuda.is_available()
    device, started = torch.device("cuda" if cuda else "cpu"), time.monotonic()
    name = torch.cuda.get_device_name(device) if cuda else f"{cpu_model()}: no GPU"
    record = [f"# Training on a GPU\n\n{name}, torch {torch.__version__}."]
    if not cuda:
        record.append("\nNothing here is measured: these are the parts that a CPU can run, at tiny sizes.")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for title, part in (
            ("Correctness", lambda: correctness(device)),
            ("Heads", lambda: heads(device)),
            ("Whole encoders", lambda: encoders(root, device, given.steps, given.workers)),
            ("The paper's setting", lambda: papers_setting(root, device, given.workers)),
        ):
            begun = time.monotonic()
            record += [f"\n## {title}\n", *part(), f"\n{time.monotonic() - begun:.0f} s"]
            print("\n".join(record), flush=True)
            if given.out:  # what was measured is kept, whatever comes next
                write_text(given.out, "\n".join(record) + "\n")
    print(f"{time.monotonic() - started:.0f} s in all")


def table(columns: str, rows: list[list[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    names = columns.split(", ")
    return ["| " + " | ".join(map(str, row)) + " |" for row in (names, ["---"] * len(names), *rows)]


def correctness(device: torch.device) -> list[str]:
    """Every rule for some steps on the CPU and on the device: greatest difference of a weight, picks, host syncs."""
    size = Size(batch=32, queue=64, dim=32, inputs=32, hidden=32)
    splits = corpus(size, 400), corpus(size, 50, seed=1)
    rows = []
    for variant in VARIANTS if device.type == "cuda" else VARIANTS[:2]:
        here, there = (trained(variant, size, splits, where) for where in (torch.device("cpu"), device))
        gap = max(float((a - b.cpu()).abs().max()) for a, b in zip(here[0], there[0], strict=True))
        same = float((here[1] == there[1]).double().mean()) if here[1].numel() else float("nan")
        rows.append([variant, f"{gap:.1e}", f"{100 * same:.2f} %", there[2]])
    return [
        "Twelve steps from one seed, on the CPU and here; a draw on the boundary of two candidates may differ.\n",
        *table("rule, greatest difference of a weight, equal picks, host syncs in a step", rows),
        "",
        *fused_kernel(device, Size(batch=32, queue=96, dim=32)),
    ]


def trained(
    variant: str, size: Size, splits: tuple[Split, Split], device: torch.device
) -> tuple[list[torch.Tensor], torch.Tensor, Any]:
    """Weights and picks of twelve steps, of which the last two run with host syncs forbidden, and what these said."""
    train, val = (moved(split, device) for split in splits)
    config = config_of(variant, size)
    config["audit"] |= {"picks": "full"}
    engine = Engine(config, [0], train, val, device)
    syncs: Any = 0 if device.type == "cuda" else "not measured"

    def after(_: float | None) -> None:
        if engine.step == 10 and device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        if engine.step >= 12:
            raise Stop

    with counted_syncs(device) as count:
        try:
            engine.run(after)
        except Stop:
            pass
    if device.type == "cuda":
        syncs = count()
    picks = [value for name, value in engine.picks.state().items() if name.endswith("candidate")]
    weights = [value.detach() for value in engine.model.state_dict().values()]
    return weights, torch.cat([p.flatten().cpu() for p in picks]) if picks else torch.empty(0), syncs


@contextmanager
def counted_syncs(device: torch.device) -> Iterator[Callable[[], int]]:
    """Counts the warnings of host syncs, once their debug mode is on; off again at the end."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield lambda: sum("synchroniz" in str(each.message) for each in caught)
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")


def moved(split: Split, device: torch.device) -> Split:
    """A split that is standardised already, on a device."""
    return split.standardised(split.image.by, split.text.by, device) if device.type == "cuda" else split  # type: ignore[arg-type]


def fused_kernel(device: torch.device, size: Size) -> list[str]:
    """The kernel and the rule in plain torch on one batch: picks of the hardest, and milliseconds of both."""
    try:
        from fne.negatives.fused import select
    except ImportError:
        return ["The fused kernel: not measured, no package triton."]
    if device.type != "cuda":
        return ["The fused kernel: not measured; its tests run it in Triton's interpreter."]
    from fne.negatives.strategy import draw
    from fne.negatives.weighting import Weighting

    floor, w = Floor(size, device), Weighting(0.5, "released", 1e-3, 1.0, "global", 0.2)
    others = floor.candidates[0][None]
    anchors = torch.nn.functional.normalize(torch.randn(1, size.batch, size.dim, device=device), dim=-1)
    ids = torch.arange(size.candidates, device=device)[None]
    uniform, positive = torch.rand(1, size.batch, device=device), torch.full((1, size.batch), 0.5, device=device)
    fitted, mean = torch.tensor([[0.5, 0.0, 20.0, -3.0, 1.0]], device=device), torch.zeros(1, device=device)

    def dense() -> torch.Tensor:
        s = anchors @ others.transpose(-1, -2)
        excluded = ids[:, : size.batch, None] == ids[:, None]
        p = torch.sigmoid(20.0 * (s - 0.5) - 3.0)
        weights, _ = w(s, positive, p, mean)
        return draw(weights.masked_fill(excluded, 0), uniform)

    def fused(weighting: Weighting | None = w) -> torch.Tensor:
        given = (anchors, others, ids[:, : size.batch], ids, positive, uniform)
        return select(*given, weighting=weighting, fitted=fitted, pos_mean=mean)[0]

    scores = (anchors @ others.transpose(-1, -2)).masked_fill(ids[:, : size.batch, None] == ids[:, None], -1)
    hardest = float((scores.argmax(dim=-1) == fused(None)).double().mean())
    before, after = milliseconds(dense, device), milliseconds(fused, device)
    return [f"Fused kernel at B {size.batch}, C {size.candidates:,}, D {size.dim}: {100 * hardest:.1f} % of the "
            f"hardest equal; {after:.3f} ms against {before:.3f} ms of the rule in plain torch."]  # fmt: skip


def milliseconds(work: Callable[[], Any], device: torch.device, times: int = 50) -> float:
    """Median of some runs, each waited for."""
    took = []
    for at in range(times + 5):
        wait(device)
        begun = time.perf_counter()
        work()
        wait(device)
        if at >= 5:
            took.append(time.perf_counter() - begun)
    return 1000 * float(np.median(took))


def heads(device: torch.device) -> list[str]:
    """Steps per second of heads at the sizes of the floor, for one and for ten replicates."""
    rows, cuda = [], device.type == "cuda"
    for name, size in SIZES.items() if cuda else [("tiny", Size(16, 32, 16, 16, 16))]:
        splits = corpus(size, 20_000 if cuda else 400), corpus(size, 50, seed=1)
        train, val = (moved(split, device) for split in splits)
        floor = milliseconds(Floor(size, device).step, device)
        kernels = [("fne", "triton"), ("hardest_buffer", "triton")]
        rules = [(variant, "torch") for variant in VARIANTS[:3]] + kernels if cuda else [("fne", "torch")]
        for variant, kernel in rules:
            config = config_of(variant, size)
            config["negatives"] |= {"kernel": kernel}
            times = [step_time(config, train, val, seeds, device) for seeds in ([0], list(range(10)))]
            cells = [f"{1000 / ms:.0f}" if cuda else "not measured" for ms in times]
            ratio = f"{times[0] / floor:.2f}" if cuda else "not measured"
            rows.append([name, variant, kernel, *cells, ratio])
    return [
        *table("size, rule, kernel, steps/s of 1 replicate, steps/s of 10 replicates, one against the floor", rows),
        "",
        *(fused_kernel(device, SIZES[name])[0] + "\n" for name in ("queue", "long")),
    ]


def step_time(config: dict[str, Any], train: Split, val: Split, seeds: list[int], device: torch.device) -> float:
    """Milliseconds of a step of the engine, over a hundred, after twenty that do not count."""
    engine = Engine(config, seeds, train, val, device)
    first, last = (20, 120) if device.type == "cuda" else (1, 3)
    marks: list[float] = []

    def after(_: float | None) -> None:
        if engine.step in (first, last):
            wait(device)
            marks.append(time.perf_counter())
        if engine.step >= last:
            raise Stop

    try:
        engine.run(after)
    except Stop:
        pass
    return 1000 * (marks[1] - marks[0]) / (last - first)


def encoders(root: Path, device: torch.device, steps: int, workers: int) -> list[str]:
    """Whole encoders on JPEG images, batch after batch while memory lasts."""
    cuda = device.type == "cuda"
    size, side, batches = (384, 8192, BATCHES) if cuda else (48, 128, BATCHES[:1])
    steps = steps if cuda else 2
    peak = matrix_peak(device, side)
    save_encoders(root, size, tiny=not cuda)
    write_images(root, (steps + 8) * (128 if cuda else 32) + 16)
    custom = f"{{dataset: custom, annotations: {root}/dataset.json, images: {root}/images}}"
    text = STUDY.format(data=custom, root=root, size=size, epochs=64, queue=8192 if cuda else 64)
    add_study(root, "benchmark", text)
    rows = [measure(root, batches[0], steps, workers, device, True, peak)]
    lines = []
    for batch in batches:
        try:
            rows.append(measure(root, batch, min(steps, 8) if batch > 128 else steps, workers, device, False, peak))
        except torch.OutOfMemoryError:
            lines.append(f"Batch {batch} does not fit.")
            break
    ratio = rows[1]["images_per_second"] / rows[0]["images_per_second"]
    cells = [[row["what"], row["batch"], f"{row['images_per_second']:.1f}", f"{row['ms_per_step']:.1f}",
              f"{100 * row['share_of_peak']:.1f} %", row["memory"], row["host_syncs"]] for row in rows]  # fmt: skip
    if not cuda:
        return [f"Ran with tiny encoders, {len(rows)} trainings: not measured."]
    return [
        f"Measured bfloat16 matrix peak: {peak / 1e12:.0f} TFLOP/s.\n",
        *table("what, batch, images/s, ms a step, share of peak, peak memory in GiB, host syncs in a step", cells),
        f"\nAt batch {batches[0]}: {ratio:.1f} times the baseline. {' '.join(lines)}",
    ]


def papers_setting(root: Path, device: torch.device, workers: int) -> list[str]:
    """Two epochs of the released configuration (batch 32, queue 8,224) on scenes, from random weights."""
    cuda = device.type == "cuda"
    size, count, queue = (384, 2000, 8224) if cuda else (48, 96, 64)
    data = f"{{dataset: scenes, train: {count}, val: 100, test: 100, image_size: {size}}}"
    study = add_study(root, "paper384", STUDY.format(data=data, root=root, size=size, epochs=2, queue=queue))
    config = resolve(study, "fne")
    train, val, _ = open_corpus(study, root, workers).training(config, device)
    engine = Engine(config, [0], train, val, device)
    begun = time.perf_counter()
    engine.run(lambda _: None)
    seconds = time.perf_counter() - begun
    pace = f"{engine.total_steps * config['train']['batch_size'] / seconds:.0f} images/s" if cuda else "not measured"
    rows = [
        [c["epoch"], c["phase"], f"{c['loss']:.3f}", f"{c['val_rsum']:.1f}", f"{100 * c['fn_share_i2t']:.2f} %"]
        for c in engine.curves
    ]
    return [
        f"{count} scenes at {size} pixels, {engine.total_steps} steps, validations included: {pace}.\n",
        *table("epoch, phase, loss, validation rsum, false negatives among picks (i2t)", rows),
    ]


def add_study(root: Path, name: str, text: str) -> Study:
    """A study of this project's variants, its data prepared."""
    if not (root / "ablations").is_dir():
        shutil.copytree(ROOT / "ablations", root / "ablations")
    (root / "ablations" / "studies" / f"{name}.yaml").write_text(text, encoding="utf-8")
    study = load_study(name, root=root)
    prepare(data_section(study), root / paths.data_folder(study))
    return study


def write_images(root: Path, images: int) -> None:
    """JPEG images of 500 x 375 pixels with captions, in Karpathy's schema."""
    draw = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    entries = []
    for number in range(images):
        coarse = Image.fromarray(draw.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(root / "images" / f"{number}.jpg", quality=90)
        raw = f"{' '.join(draw.choice(WORDS, 14))} {number}"
        split = "test" if number < 8 else "val" if number < 16 else "train"
        sentence = {"raw": raw, "tokens": [], "imgid": number, "sentid": number}
        entry = {"filename": f"{number}.jpg", "imgid": number, "split": split, "sentids": [number]}
        entries.append(entry | {"sentences": [sentence]})
    (root / "dataset.json").write_text(json.dumps({"dataset": "random", "images": entries}), encoding="utf-8")


def save_encoders(root: Path, size: int, tiny: bool) -> None:
    """ViT-B/16 and BERT-base from their configurations, with random weights and the shipped tokenizer."""
    import transformers as t

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    small = shape if tiny else {}
    t.ViTModel(t.ViTConfig(image_size=size, patch_size=16, **small)).save_pretrained(root / "vit")
    t.BertModel(t.BertConfig(**small)).save_pretrained(root / "bert")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": size, "width": size}}
    (root / "vit" / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")
    for file in (SHIPPED / "text").glob("tokenizer*"):
        shutil.copy(file, root / "bert")


def matrix_peak(device: torch.device, side: int) -> float:
    """Measured floating-point operations a second of a bfloat16 matrix product."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / milliseconds(lambda: a @ b, device, 10) * 1000


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

    engine.rule.strategy.select = slow  # type: ignore[method-assign]


def measure(
    root: Path, batch: int, steps: int, workers: int, device: torch.device, baseline: bool, peak: float
) -> dict[str, Any]:
    """Train in the main phase and time it; two more steps count host syncs.

    Raises:
        torch.OutOfMemoryError: The batch does not fit.
    """
    changes: dict[str, Any] = {"train.batch_size": batch, "finetune.precision": "bfloat16"}
    if baseline:
        changes |= {"finetune.precision": "float32", "finetune.attention": "eager"}
    study = load_study("benchmark", changes, root)
    config, cuda = resolve(study, "fne"), device.type == "cuda"
    train, val, _ = open_corpus(study, root, workers).training(config, device)
    engine = Engine(config, [0], train, val, device)
    if baseline:
        sync_for_every_anchor(engine)
    engine.step = engine.steps  # the first main epoch
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    marks: list[float] = []
    done, counter = 0, FlopCounterMode(display=False)

    def after(_: float | None) -> None:
        nonlocal done
        done += 1
        if done == 2:
            counter.__enter__()
        elif done == 3:
            counter.__exit__(None, None, None)
        elif done in (4, 4 + steps):
            wait(device)
            marks.append(time.perf_counter())
            if done > 4 and cuda:
                torch.cuda.set_sync_debug_mode("warn")
        elif done == 6 + steps:
            raise Stop

    with counted_syncs(device) as syncs:
        try:
            engine.run(after)
        except Stop:
            pass
    seconds = (marks[1] - marks[0]) / steps
    return {
        "what": "baseline" if baseline else "fne",
        "batch": batch,
        "images_per_second": batch / seconds,
        "ms_per_step": 1000 * seconds,
        "share_of_peak": counter.get_total_flops() / seconds / peak,
        "memory": f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}" if cuda else "",
        "host_syncs": syncs() if cuda else "",
    }


if __name__ == "__main__":
    main()
