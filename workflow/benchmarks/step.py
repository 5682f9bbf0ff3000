"""Training steps of the rules against the floor: CPU time side by side in one process, medians of interleaved steps.

Every rule is trained by the engine as a study trains it: plan, draws, heads, memory, selection, loss, diagnostics, pick
log, optimiser. All rules take turns, one step each, with :class:`floor.Floor` among them, so that whatever else the
machine does falls on all alike:

    python workflow/benchmarks/step.py --sizes paper queue --variants fne hardest_buffer
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from floor import SIZES, Floor, Size

from fne.study.api import load_study, resolve
from fne.training.data import Items, PairSet, Split, Standardiser
from fne.training.engine import Engine
from fne.utils.provenance import cpu_model

VARIANTS = ("hardest_buffer", "fne", "infonce_buffer", "bcl", "hcl", "gist", "glofnd", "dcl", "sct", "simans", "random")
TRAINED = 60
"""Steps before the measured ones: statistics have been gathered, and pairs are nearer than others."""
IMAGES, CAPTIONS = 40_000, 5


class Stopped(Exception):
    """Ends a loop that gets no turn any more."""


class Turns:
    """A loop that runs in a thread of its own, one step at a time when it is given its turn."""

    def __init__(self, loop: Callable[[Callable[..., None]], None]) -> None:
        self.mine, self.done, self.seconds = threading.Semaphore(0), threading.Semaphore(0), 0.0
        self.error: BaseException | None = None
        self.began, self.stopping = 0.0, False

        def run() -> None:
            self.mine.acquire()
            self.began = time.thread_time()
            try:
                loop(self.after)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever gives turns
                self.error = error
            self.done.release()

        threading.Thread(target=run, daemon=True).start()

    def after(self, _: object = None) -> None:
        """Hand over, and wait for the next turn."""
        self.seconds = time.thread_time() - self.began
        self.done.release()
        self.mine.acquire()
        if self.stopping:
            raise Stopped
        self.began = time.thread_time()

    def step(self) -> float:
        """CPU seconds of one step."""
        self.mine.release()
        self.done.acquire()
        if self.error is not None:
            raise self.error
        return self.seconds

    def stop(self) -> None:
        """Let go of the loop and all that it holds."""
        self.stopping = True
        self.mine.release()
        self.done.acquire()


def corpus(size: Size, images: int = IMAGES, seed: int = 0) -> Split:
    """Pairs of random features that share a direction, five captions an image; all truth is the own pairs."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(images, 32, generator=generator)
    owner = torch.arange(images).repeat_interleave(CAPTIONS)

    def items(rows: torch.Tensor) -> Items:
        values = shared[rows] @ torch.randn(32, size.inputs, generator=generator) / 6
        values = values + torch.randn(values.shape, generator=generator)
        one = Items(values, torch.arange(len(values)))
        return one.standardised(Standardiser.fit(one), torch.device("cpu"))

    keys = (owner << 32) + torch.arange(len(owner))
    return Split(
        image=items(torch.arange(images)),
        text=items(owner),
        caption_image=owner,
        first_caption=torch.arange(images) * CAPTIONS,
        caption_count=torch.full((images,), CAPTIONS),
        truth=PairSet(keys, None),
    )


def config_of(variant: str, size: Size) -> dict[str, Any]:
    """A variant of the library at a size: its rule, loss and kind of memory where it has one; no warm-up."""
    study = load_study("literature", {"variants": ["hardest_in_batch", variant]})
    config = resolve(study, variant)
    if config["memory"]["kind"] != "momentum":
        config["memory"] = resolve(load_study("literature", {"variants": ["hardest_in_batch", "fne"]}), "fne")["memory"]
    config["memory"] |= {"size": size.queue, "initial": "random"}
    config["train"] |= {"batch_size": size.batch, "epochs": 2}
    config["warmup"] |= {"epochs": 0}
    config["model"] |= {"dim": size.dim, "hidden": size.hidden, "head": "mlp"}
    return config


def engine_turns(config: Mapping[str, Any], train: Split, val: Split, seeds: Sequence[int] = (0,)) -> Turns:
    """The engine's own loop."""
    engine = Engine(dict(config), list(seeds), train, val, torch.device("cpu"))
    return Turns(engine.run)


def turns_of(step: Callable[[], None]) -> Turns:
    """A step that is repeated."""

    def loop(after: Callable[..., None]) -> None:
        while True:
            step()
            after()

    return Turns(loop)


def measure(size: Size, loops: Mapping[str, Turns], steps: int, trained: int = TRAINED) -> dict[str, list[float]]:
    """CPU seconds of each step of each loop, after some that do not count; the loops are over then."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for at in range(trained + steps):
        for name, turns in loops.items():
            took = turns.step()
            if at >= trained:
                seconds[name].append(took)
    for turns in loops.values():
        turns.stop()
    return seconds


def main() -> None:
    """Measure and print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{cpu_model()}, one thread, torch {torch.__version__}")
    for name in given.sizes:
        size = SIZES[name]
        train, val = corpus(size), corpus(size, 200, seed=1)
        loops = {"floor": turns_of(Floor(size, torch.device("cpu")).step)}
        loops |= {variant: engine_turns(config_of(variant, size), train, val) for variant in given.variants}
        seconds = measure(size, loops, given.steps)
        floor = np.median(seconds["floor"])
        print(f"\n{name}: B {size.batch}, C {size.candidates:,}, D {size.dim}; floor {1000 * floor:.2f} ms, "
              f"{(size.product + size.heads) / floor / 1e9:.0f} GFLOP/s")  # fmt: skip
        for loop, took in seconds.items():
            print(f"  {loop:20} {1000 * np.median(took):8.2f} ms  {np.median(took) / floor:5.2f} x floor")


if __name__ == "__main__":
    main()
