"""``estimate`` before there are data: what a study of whole encoders costs, from counts and a device's data sheet.

Torch-free, since it is the first thing that a user with neither data nor a GPU runs.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from fne.data.sources import SOURCES
from fne.steps.resources import Need, write
from fne.study.api import Study, blocks, parse_block, resolve
from fne.utils.errors import bad_input
from fne.utils.files import expanded
from fne.utils.text import columns, size

CAPTIONS = 5
"""Of an image of Flickr8k, Flickr30K and COCO."""
COCO_IMAGES = 82_783 + 40_504
SHARE = 0.3
"""Of a device's peak that training reaches, where the user knows nothing better: an assumption."""
ACTIVATIONS = 34
"""Bytes that a token keeps in a layer for the backward pass, by its width, at 16 bits (Korthikanti et al., MLSys 2023,
section 4.1, without the attention matrix, which ``finetune.attention: sdpa`` does not keep)."""


LOADER_MB = 500
"""Main memory of a process that decodes images, which imports torch."""


class Gpu(NamedTuple):
    """Dense peaks in TFLOP/s and memory in GB, as its maker's data sheet has them."""

    bfloat16: float
    float32: float
    memory: float


GPUS = {
    "a100": Gpu(312, 19.5, 80),
    "h100": Gpu(989, 67, 80),
    "h200": Gpu(989, 67, 141),
    "l40s": Gpu(362, 91.6, 48),
    "rtx4090": Gpu(165, 82.6, 24),
}


class Transformer(NamedTuple):
    """A plain Transformer encoder.

    Args:
        width, layers, inner: Of its blocks; ``inner`` is the width of the hidden layer between.
        tokens: Of one input.
        patch: Values that a token is embedded from; 0 where it is looked up.
        rows: Of its tables of embeddings.
    """

    width: int
    layers: int
    inner: int
    tokens: int
    patch: int
    rows: int

    @property
    def flops(self) -> int:
        """Of a forward pass, multiplications and additions: ``L (2 T (4 w^2 + 2 w m) + 4 T^2 w) + 2 (T - 1) p w``."""
        w, t = self.width, self.tokens
        block = 2 * t * (4 * w * w + 2 * w * self.inner) + 4 * t * t * w
        return self.layers * block + 2 * (t - 1) * self.patch * w

    @property
    def parameters(self) -> int:
        """Weights, biases and norms."""
        w, m = self.width, self.inner
        return self.layers * (4 * w * w + 2 * w * m + 9 * w + m) + (self.rows + self.patch + 2 + bool(self.patch)) * w


CONFIGS: dict[str, dict[str, Any]] = {
    "google/vit-base-patch16-384": dict(
        hidden_size=768, num_hidden_layers=12, intermediate_size=3072, patch_size=16, image_size=384, num_channels=3
    ),
    "google-bert/bert-base-uncased": dict(
        hidden_size=768, num_hidden_layers=12, intermediate_size=3072, vocab_size=30522, max_position_embeddings=512
    ),
}
"""The part of their ``config.json`` that counts, of the checkpoints that the studies name."""


def transformer(config: Mapping[str, Any], modality: str) -> Transformer:
    """The encoder that a study trains.

    Raises:
        UserError: It is neither known nor a folder of a plain Transformer.
    """
    section, key = config["encoders"][modality], f"encoders.{modality}.checkpoint"
    name = section["checkpoint"]
    file = expanded(name) / "config.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else CONFIGS.get(name)
    own = {"image": ("patch_size", "image_size"), "text": ("vocab_size", "max_position_embeddings")}[modality]
    needed = ("hidden_size", "num_hidden_layers", "intermediate_size", *own)
    if found is None or not all(isinstance(found.get(each), int) for each in needed):
        allowed = [*CONFIGS, f"a folder whose config.json has {', '.join(needed)}"]
        hint = "or get the data, and `fne estimate` measures a few steps of any encoder"
        raise bad_input("its cost is not known without data", key=key, value=name, allowed=allowed, hint=hint)
    width, layers, inner = found["hidden_size"], found["num_hidden_layers"], found["intermediate_size"]
    if modality == "text":
        tokens = section["max_length"] or found["max_position_embeddings"]
        return Transformer(width, layers, inner, tokens, 0, found["vocab_size"] + found["max_position_embeddings"] + 2)
    patch, side = found["patch_size"], config["finetune"]["image_size"] or found["image_size"]
    tokens = (side // patch) ** 2 + 1
    return Transformer(width, layers, inner, tokens, patch * patch * found.get("num_channels", 3), tokens + 1)


@dataclass(frozen=True)
class Cost:
    """What one run of a variant costs.

    Args:
        step: Seconds of a step of the main phase.
        seconds: Of the whole run, training, validations, ranking and calibration.
        memory: Greatest memory of the GPU, in bytes.
        images: That are decoded, in all.
        kept, state: Bytes of its weights, and of a checkpoint while it trains.
    """

    step: float
    seconds: float
    memory: float
    images: int
    kept: int
    state: int


def cost(config: Mapping[str, Any], rate: float, *, pairs_per_second: float | None = None) -> Cost:
    """Cost of one run.

    A step of B pairs takes ``B (3 f + e f) / rate`` seconds, where f are the FLOPs of both forward passes, a backward
    pass counts twice, and e is 1 each for a momentum encoder and for a second forward pass (``finetune.chunk``,
    ``finetune.gradient_checkpointing``). A side that is not trained has no backward pass.

    Args:
        config: Resolved, of the regime ``finetune``.
        rate: FLOPs a second that training reaches.
        pairs_per_second: Instead of the rate of training steps: measured, without a momentum encoder.
    """
    sides = {side: transformer(config, side) for side in ("image", "text")}
    settings, section, counts = config["train"], config["finetune"], config["data"]["counts"]
    forward = {side: each.flops for side, each in sides.items()}
    trained = [side for side in sides if section["trained"] in (side, "both")]
    again = bool(section["chunk"]) + bool(section["gradient_checkpointing"])
    plain = sum(forward.values()) + sum(forward[side] * (2 + again) for side in trained)
    if pairs_per_second is not None:
        rate = plain * pairs_per_second
    past = sum(forward.values()) if config["memory"]["kind"] == "momentum" else 0
    batch = settings["batch_size"]
    epoch = counts["train"] * (CAPTIONS if settings["epoch_unit"] == "captions" else 1) // batch
    warm = config["warmup"]["epochs"] if config["memory"].get("fill") != "always" else 0
    steps = epoch * settings["epochs"]
    training = batch * (steps * plain + (steps - epoch * warm) * past)
    evaluated = {split: counts[split] * (forward["image"] + CAPTIONS * forward["text"]) for split in ("val", "test")}
    passes = settings["epochs"] * settings["validations"]
    flops = training + (passes + 1) * evaluated["val"] + 2 * evaluated["test"]
    size_of = {side: each.parameters for side, each in sides.items()}
    weights, learned = sum(size_of.values()), sum(size_of[side] for side in trained)
    # float32 each: weights, the best so far, gradients, two moments, and the average of a momentum encoder
    state = 4 * (2 * weights + 2 * learned + (weights if past else 0))
    width = 1 if section["precision"] == "bfloat16" else 2
    tokens = sum(sides[side].tokens * sides[side].width * sides[side].layers for side in trained)
    kept = min(section["chunk"] or batch, batch) * tokens * ACTIVATIONS * width
    if section["gradient_checkpointing"]:
        kept //= max(sides[side].layers for side in sides)
    images = steps * batch + passes * counts["val"] + counts["val"] + 2 * counts["test"]
    memory = state + 4 * learned + kept + (2 * weights if width == 1 else 0)
    return Cost(batch * (plain + past) / rate, flops / rate, memory, images, 4 * learned, state)


def decoding(config: Mapping[str, Any], seconds: float = 1.0) -> float:
    """Images a second that one core of this machine decodes and augments: a JPEG of 500 x 375 pixels, in memory."""
    import io

    import numpy as np
    from PIL import Image

    from fne.training.finetune.images import Transform

    section, draw = config["finetune"], np.random.default_rng(0)
    coarse = Image.fromarray(draw.integers(0, 256, (75, 100, 3), dtype=np.uint8)).resize((500, 375))
    buffer, done = io.BytesIO(), 0
    coarse.save(buffer, "jpeg", quality=90)
    how = Transform(section["image_size"] or 224, section["crop"], section.get("crop_area", 1.0), section["flip"],
                    section["randaugment_operations"], section.get("randaugment_magnitude", 0))  # fmt: skip
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        how.training(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"), draw)
        done += 1
    return done / (time.monotonic() - began)


def makespan(jobs: Sequence[float], machines: int) -> float:
    """Seconds until the last of some jobs ends, each on the machine that is free first, the longest ones first.

    >>> makespan([3, 3, 2, 2, 2], 2)
    7
    """
    free = [0.0] * machines
    for seconds in sorted(jobs, reverse=True):
        free[free.index(min(free))] += seconds
    return max(free)


def run(study: Study, root: Path, gpu: str, gpus: int, share: float | None, rate: float | None, resources: bool) -> str:
    """What a study of whole encoders costs on some GPUs, one run on each at a time.

    Args:
        study: Its data need not be there, if their counts are in its file.
        root: The project's folder.
        gpu: A name of :data:`GPUS`.
        gpus: How many.
        share: Of the device's peak that training reaches; None: :data:`SHARE`.
        rate: Pairs a second, measured, of training without a momentum encoder; instead of a share.
        resources: Also write the profile of the study.

    Returns:
        What a terminal shows.

    Raises:
        UserError: An encoder is not known, or the corpus has no counts.
    """
    device, configs = GPUS[gpu], {variant: resolve(study, variant) for variant in study.variants}
    first = configs[study.variants[0]]
    if None in first["data"]["counts"].values():
        raise bad_input("needs the number of images of each split", key="data.counts", value=first["data"]["counts"])
    precision = first["finetune"]["precision"]
    peak = getattr(device, precision) * 1e12
    reached = peak * (SHARE if share is None else share)
    costs = {variant: cost(config, reached, pairs_per_second=rate) for variant, config in configs.items()}
    runs = [len(parse_block(block)) for block in blocks(study)]
    jobs = [seeds * each.seconds for each in costs.values() for seeds in runs]
    pace = decoding(first)
    loaders = math.ceil(max(each.images / each.seconds for each in costs.values()) / pace)
    rows = [["variant", "s/step", "one job", "jobs", "GPU-hours", "GPU memory"]]
    for variant, each in costs.items():
        rows.append([variant, f"{each.step:.3g}", str(timedelta(seconds=round(max(runs) * each.seconds))),
                     str(len(runs)), f"{sum(runs) * each.seconds / 3600:.3g}", size(each.memory)])  # fmt: skip
    rows.append(["all", "", "", str(len(jobs)), f"{sum(jobs) / 3600:.3g}", ""])
    picture = sum(each.size for each in SOURCES["coco"].archives[1:]) / COCO_IMAGES
    parts = {
        "images": picture * sum(first["data"]["counts"].values()),
        "encoders": sum(4 * transformer(first, side).parameters for side in ("image", "text")),
        f"weights of {sum(runs) * len(costs)} runs": sum(runs) * sum(each.kept for each in costs.values()),
        "checkpoints": 2 * gpus * max(each.state for each in costs.values()),  # the last one, and the one being written
    }
    if rate is not None:
        reaches = f"trains {rate:g} pairs/s without a momentum encoder (--rate)"
    else:
        source = "an assumption: --share sets it" if share is None else "--share"
        speeds = f"{reached / 1e12:.3g} TFLOP/s, {reached / peak:.0%} ({source}) of its peak of {peak / 1e12:g}"
        reaches = f"reaches {speeds} in {precision}"
    too_large = [variant for variant, each in costs.items() if each.memory > device.memory * 1e9]
    lines = [
        *columns(rows, numbers=True),
        "",
        f"Wall time on {gpus} x {gpu}: {timedelta(seconds=round(makespan(jobs, gpus)))}, one job on a GPU at a time.",
        f"Disk: {size(sum(parts.values()))} ({', '.join(f'{what} {size(count)}' for what, count in parts.items())}).",
        f"Decoding of images keeps up with {loaders} processes a job (--config loaders={loaders}).",
        *([f"More than the {device.memory:g} GB of {gpu}: {', '.join(too_large)}; see finetune.chunk."]
          if too_large else []),
        "",
        f"No data were read. Counts: data.counts of the study, {CAPTIONS} captions an image, as long as they may be.",
        f"Speed: matrix products of both encoders; {gpu} {reaches}. Peak and memory: the maker's data sheet.",
        "GPU memory: weights, their best, gradients, moments and average in float32, and activations of "
        f"{ACTIVATIONS} bytes a token, layer and unit of width at 16 bits; without the allocator's slack.",
        f"Decoding: {pace:.0f} images/s a core, measured on this machine just now; other work on it makes this less. "
        f"Disk: {size(picture)} an image, the mean of COCO's archives.",
        "With the data, `fne estimate` measures a few real steps instead.",
    ]  # fmt: skip
    if resources:
        seconds = max(runs) * max(each.seconds for each in costs.values())
        need = Need(seconds, 4000 + LOADER_MB * loaders, 1, loaders)
        lines += ["", f"written: {write(study, root, need, 'computed from counts and a data sheet, not measured')}"]
    return "\n".join(lines)
