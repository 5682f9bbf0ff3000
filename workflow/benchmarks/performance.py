"""Every claim about speed in one record: training steps against their floor and against others' code, side by side.

    python workflow/benchmarks/performance.py --out docs/performance.md

CPU time on one thread, medians of steps that take turns in one process, so that ratios hold whatever else the machine
does. ``--tiny`` runs every part at sizes that mean nothing, to see that it still runs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dense_floor import DenseFloor
from extraction import compare
from floor import SIZES, Floor, Size
from peers import PLAIN, Peer, metric_learning
from step import TRAINED, VARIANTS, Turns, config_of, corpus, engine_turns, measure, turns_of

from fne.evaluation.ranking import rank
from fne.losses.dense import Dense
from fne.study.plugins import find
from fne.utils.files import write_text
from fne.utils.provenance import cpu_model

TINY = {name: Size(8, 16, 8, 8, 8) for name in ("paper", "queue")}
GROWTH = (8_192, 16_384, 32_768, 65_536)


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a Markdown file for the record")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=40, help="measured steps")
    parser.add_argument("--tiny", action="store_true", help="sizes that mean nothing, to try the script")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sizes = TINY if given.tiny else {name: SIZES[name] for name in given.sizes}
    steps = 2 if given.tiny else given.steps
    record = [
        "# Performance\n",
        f"{cpu_model()}, one thread, torch {torch.__version__}. CPU time, medians of {steps} steps that take turns in "
        "one process: ratios hold whatever else the machine does, milliseconds do not. Made by "
        "`python workflow/benchmarks/performance.py --out docs/performance.md`."
        + (" Tiny sizes: no record." if given.tiny else ""),
    ]
    shown = 0
    for part in (
        training_intro,
        *(functools.partial(training_steps, name, sizes[name], given.variants, steps) for name in sizes),
        lambda: replicates(sizes, steps),
        lambda: growth((32, 64) if given.tiny else GROWTH, steps),
        lambda: ranking(*((20, 5) if given.tiny else (1000, 5))),
        lambda: extracting(16 if given.tiny else 4000),
    ):
        record += ["", *part()]
        print("\n".join(record[shown:]), flush=True)
        shown = len(record)
    if given.out:
        write_text(given.out, "\n".join([record[0], *answer(record), *record[1:]]) + "\n")


def answer(record: Sequence[str]) -> list[str]:
    """What a reader wants to know first, from the rows of the tables of training steps; nothing without FNE in them."""
    cells = [[cell.strip() for cell in line.split("|")] for line in record if line.startswith("| fne |")]
    rows = [row for row in cells if row[3] in ("pick", "dense")]
    if not rows:
        return []
    of_floor, of_plain = (sorted(float(row[at]) for row in rows) for at in (4, 5))
    return [
        f"A training step of FNE takes {of_floor[0]:.2f} to {of_floor[-1]:.2f} times as long as one that selects its "
        f"negatives by arg max alone (the floor), and {of_plain[0]:.2f} to {of_plain[-1]:.2f} of the time of the same "
        "rule in plain torch. Below: every rule at every size, seeds that train together, long queues, ranking, "
        "extraction.\n"
    ]


def table(columns: str, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table, numbers to the right."""
    names = columns.split(" | ")
    return ["| " + " | ".join(map(str, row)) + " |" for row in (names, ["---", *["--:"] * (len(names) - 1)], *rows)]


def median(seconds: Sequence[float]) -> float:
    """Of CPU seconds, in milliseconds."""
    return 1000 * float(np.median(seconds))


def is_dense(variant: str, size: Size) -> bool:
    """Whether a variant's loss looks at every negative, so that its floor has the gradient of the products too."""
    config = config_of(variant, size)
    return issubclass(find("loss", config["loss"]["kind"]).load(), Dense)


def training_intro() -> list[str]:
    """What the tables of training steps tell."""
    return [
        "## Training steps\n",
        "A step of the engine (plan, draws, heads, memory, selection, loss, diagnostics, pick log, optimiser) against "
        "the floor: heads, momentum encoder, the two products, one pick an anchor, optimiser "
        "(`workflow/benchmarks/floor.py`). A rule whose loss looks at every negative is held against a floor of its "
        "own, with the gradient of both products and one logarithm of a sum of exponentials "
        "(`workflow/benchmarks/dense_floor.py`). *Plain torch* and *pytorch-metric-learning*: our step divided by "
        "theirs (`workflow/benchmarks/peers.py`); below 1 ours is faster. Plain torch leaves out the candidates of the "
        "anchor's own image, as the rules do; to pytorch-metric-learning every candidate but the own pair is a "
        "negative. The InfoNCE of pytorch-metric-learning is measured at the first size alone: it holds a row of all "
        "negatives for every pair and takes seconds at others.",
    ]


def training_steps(name: str, size: Size, variants: Sequence[str], steps: int) -> list[str]:
    """A table of one size: the rules against their floor, and against plain torch and pytorch-metric-learning."""
    train, val = corpus(size, max(40_000, size.queue)), corpus(size, 200, seed=1)
    loops = {"floor": turns_of(Floor(size, torch.device("cpu")).step)}
    loops |= {"dense floor": turns_of(DenseFloor(size, torch.device("cpu")).step)}
    loops |= {variant: engine_turns(config_of(variant, size), train, val) for variant in variants}
    for kind, rules in {"plain": PLAIN, "metric": metric_learning()}.items():
        made = {rule: Peer(size, rules[rule]) for rule in rules if rule in variants}
        if kind == "metric" and size.candidates > 1000:
            made.pop("infonce_buffer", None)
        loops |= {f"{kind} {rule}": turns_of(peer.step) for rule, peer in made.items()}
    took = {loop: median(seconds) for loop, seconds in measured(size, loops, steps).items()}

    def against(variant: str, kind: str) -> str:
        peer = took.get(f"{kind} {variant}")
        return f"{took[variant] / peer:.2f}" if peer else ""

    floors = {"pick": took["floor"], "dense": took["dense floor"]}
    rows = []
    for variant in variants:
        kind = "dense" if is_dense(variant, size) else "pick"
        cells = (against(variant, other) for other in ("plain", "metric"))
        rows.append([variant, f"{took[variant]:.2f}", kind, f"{took[variant] / floors[kind]:.2f}", *cells])
    return [
        f"### {name}: B {size.batch}, C {size.candidates:,}, D {size.dim}\n",
        f"Floor {floors['pick']:.2f} ms ({(size.product + size.heads) / floors['pick'] / 1e6:.0f} GFLOP/s; the "
        f"products alone are {size.product / 1e6:,.0f} MFLOP), dense floor {floors['dense']:.2f} ms.\n",
        *table("rule | ms | floor | times the floor | plain torch | pytorch-metric-learning", rows),
    ]


def measured(size: Size, loops: Mapping[str, Turns], steps: int) -> dict[str, list[float]]:
    """As :func:`step.measure`, of fewer steps where they are long."""
    few = size.queue > 10_000
    return measure(size, loops, max(2, steps // 2) if few else steps, TRAINED // 3 if few else TRAINED)


def replicates(sizes: Mapping[str, Size], steps: int, together: int = 5) -> list[str]:
    """CPU time of a replicate among several that train together, against one alone."""
    rows = []
    for name, size in sizes.items():
        if size.queue > 10_000:
            continue
        train, val = corpus(size, 20_000), corpus(size, 200, seed=1)
        for variant in ("hardest_buffer", "fne", "infonce_buffer"):
            config = config_of(variant, size)
            loops = {str(n): engine_turns(config, train, val, range(n)) for n in (1, together)}
            took = {loop: median(seconds) for loop, seconds in measured(size, loops, max(2, steps // 2)).items()}
            rows.append([name, variant, f"{took['1']:.2f}", f"{took[str(together)] / together / took['1']:.2f}"])
    return [
        f"## Replicates together\n\n{together} seeds in one job: CPU time of a step and seed, against a seed alone.\n",
        *table("size | rule | ms alone | together", rows),
    ]


def growth(queues: Sequence[int], steps: int) -> list[str]:
    """Exponent b in ms ~ C^b between the least and the greatest queue."""
    rows = []
    for variant in ("hardest_buffer", "fne", "infonce_buffer"):
        took = []
        sizes = [Size(64, queue, 256) if steps > 2 else Size(8, queue, 8, 8, 8) for queue in queues]
        train, val = corpus(sizes[0], 40_000 if steps > 2 else 400), corpus(sizes[0], 200, seed=1)
        loops = {str(size.queue): engine_turns(config_of(variant, size), train, val) for size in sizes}
        took = [median(seconds) for seconds in measured(sizes[-1], loops, steps).values()]
        exponent = math.log(took[-1] / took[0]) / math.log(sizes[-1].candidates / sizes[0].candidates)
        rows.append([variant, *(f"{ms:.1f}" for ms in took), f"{exponent:.2f}"])
    columns = " | ".join(f"C {queue + 64:,}" for queue in queues)
    return ["## Growth with the queue\n", *table(f"rule | {columns} | exponent", rows)]


def ranking(images: int, each: int) -> list[str]:
    """Both directions of a test split: exact counts here, against an argsort for every query (VSE++'s way)."""
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(images, 256, generator=generator), dim=-1)
    text = torch.nn.functional.normalize(torch.randn(images * each, 256, generator=generator), dim=-1)
    pairs = np.stack([np.arange(images).repeat(each), np.arange(images * each)], axis=1)

    def ours() -> None:
        rank(image, text, pairs, top=10)
        rank(text, image, pairs[:, ::-1].copy(), top=10)

    def argsorts() -> None:
        a, b = image.numpy(), text.numpy()
        for query in range(images):
            order = np.argsort(b @ a[query])[::-1]
            min(int(np.where(order == each * query + n)[0][0]) for n in range(each))
        for query in range(images * each):
            int(np.where(np.argsort(a @ b[query])[::-1] == query // each)[0][0])

    took: dict[str, list[float]] = {"ours": [], "argsorts": []}
    for _ in range(5):
        for name, work in (("ours", ours), ("argsorts", argsorts)):
            took[name].append(cpu_seconds(work))
    a, b = (median(took[name]) for name in ("ours", "argsorts"))
    return [
        f"## Ranking\n\n{images:,} images, {images * each:,} captions, both directions, exact with ties: {a:.0f} ms; "
        f"an argsort for every query, in float32 and without ties, as VSE++ does: {b:.0f} ms ({a / b:.2f})."
    ]


def extracting(items: int) -> list[str]:
    """Features of images and captions, against a bare loop over the same encoder."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        rows = [[label, f"{bare:.2f}", f"{own:.2f}", f"{own / bare:.2f}"]
                for label, bare, own in compare(Path(folder), items, 3, 1)]  # fmt: skip
    return [
        "## Extraction\n\nCPU time of an item in `fne extract` (checks, digests and what a kill cannot undo included) "
        "against a loop of transformers alone, on one thread (`workflow/benchmarks/extraction.py`).\n",
        *table("encoded | ms of the bare loop | ms here | ratio", rows),
    ]


def cpu_seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
