"""A small world of random features in which images and captions share a latent vector."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch

from fne.negatives.memory.kind import Candidates
from fne.study.library import Library
from fne.training import checkpoint
from fne.training.data import Items, PairSet, Split
from fne.training.engine import Engine
from fne.utils.fields import unflatten
from tests.rules import LOSSES, STRATEGIES

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
SMALL: dict[str, dict] = {
    "model": {"hidden": 24, "dim": 12, "dropout_image": 0.1, "dropout_text": 0.2},
    "train": {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "lr_warmup_steps": 3},
    "warmup": {"epochs": 1},
    "negatives": {"prior": 0.01, "min_positives": 10, "recalibration_images": 60},
    "memory": {"size": 40, "momentum": 0.9},
    "loss": {},
    "audit": {"steps": 1},
}
"""What is smaller here than in ``base.yaml``."""
CONFIG = {name: {**of, **SMALL[name]} for name, of in unflatten(Library(ROOT).base).items() if name in SMALL}


def config(**sections: dict) -> dict:
    """The toy config with some sections changed."""
    return {name: {**section, **sections.get(name, {})} for name, section in CONFIG.items()}


def rule(strategy: str | None = None, loss: str | None = None, **negatives: object) -> dict[str, dict]:
    """Sections for a strategy, its options and a loss; either alone gets a partner that fits it."""
    if strategy is None:
        strategy = "hardest" if "one" in LOSSES[loss].negatives else "all"
    if loss is None:
        loss = "triplet" if "one" in STRATEGIES[strategy].negatives else "infonce"
    return {"negatives": {"strategy": strategy, **negatives}, "loss": {"kind": loss}}


RULES = {
    "fne": {},
    "fne_released_queue": {"memory": {"initial": "random", "fill": "always"}},
    "fne_no_buffer": {"memory": {"kind": "none"}},
    "fne_bank": {"memory": {"kind": "bank", "refresh": 3}},
    "fne_platt": {"negatives": {"recalibration": "platt", "elimination": "power", "min_positives": 2}},
    "fne_isotonic": {"negatives": {"recalibration": "isotonic", "elimination": "power", "min_positives": 2}},
    "hardest_in_batch": {"negatives": {"strategy": "hardest"}, "memory": {"kind": "none"}},
    "hardest_xbm": {"negatives": {"strategy": "hardest"}, "memory": {"kind": "xbm", "fill": "always"}},
    "hardest_bank": {"negatives": {"strategy": "hardest"}, "memory": {"kind": "bank", "refresh": None}},
    "infonce": rule("all", "infonce") | {"memory": {"kind": "none"}},
    "sum_of_hinges_with_queue": {"negatives": {"strategy": "all"}},
    "gist": rule("gist"),
    "glofnd": rule("glofnd", filtered_share=0.2, threshold_rate=0.4),
    "fnc_attract": rule("fnc_attract", score_threshold=0.0),
    "albef_distill": rule("all", "albef_distill"),
    "infonce_multi_positive": {"negatives": {"strategy": "all"}, "loss": {"kind": "infonce", "multi_positive": True}},
    "relabel": rule("hardest", oracle="relabel"),
}
"""Sections of rules that together use every part of a step."""


def split(images: int = 80, seed: int = 0, tokens: bool = False) -> Split:
    """A split with one to three captions per image and some extra positives in its truth."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(1, 4, (images,), generator=generator)
    owner = torch.repeat_interleave(torch.arange(images), count)
    latent = torch.randn(images, 10, generator=generator)
    image = latent @ torch.randn(10, 14, generator=torch.Generator().manual_seed(1))
    text = (latent[owner] + 0.3 * torch.randn(len(owner), 10, generator=generator)) @ torch.randn(
        10, 9, generator=torch.Generator().manual_seed(2)
    )
    relevant = torch.rand(len(owner), images, generator=generator) < 0.03
    relevant[torch.arange(len(owner)), owner] = True
    items = [Items(values, torch.arange(len(values))) for values in (image, text)]
    if tokens:
        items = []
        for values in (image, text):
            many = values.unsqueeze(1) + 0.2 * torch.randn(len(values), 4, values.shape[1], generator=generator)
            mask = torch.arange(4) < torch.randint(1, 5, (len(values), 1), generator=generator)
            items.append(Items(many.flatten(0, 1), 4 * torch.arange(len(values)), mask.sum(dim=1), 4))
    first = count.cumsum(0) - count
    return Split(
        image=items[0], text=items[1], caption_image=owner, first_caption=first, caption_count=count,
        truth=packed(relevant),
    )  # fmt: skip


def packed(relevant: torch.Tensor) -> PairSet:
    """(captions, images) bool as a split keeps it."""
    image, caption = relevant.T.nonzero(as_tuple=True)
    return PairSet((image << 32) + caption, None)


def relevant(split: Split) -> torch.Tensor:
    """(images, captions) bool of what a split's truth holds."""
    matrix = torch.zeros(len(split.caption_count), len(split.caption_image), dtype=torch.bool)
    matrix[split.truth.keys >> 32, split.truth.keys & 0xFFFFFFFF] = True
    return matrix


def run(engine: Engine, stop: int | None = None) -> Engine:
    """Train to the end, or until some steps were made."""

    def after(score: float | None) -> None:
        if engine.step == stop:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        engine.run(after)
    return engine


def watched(engine: Engine) -> list[SimpleNamespace]:
    """Train to the end; of every step the context, the moment, the weights before it, the loss and all picks."""
    seen, losses = [], engine.step_of.losses

    def spy(rule, context, moment):
        weights = {name: value.double().clone() for name, value in engine.model.state_dict().items()}
        total, picks = losses(rule, context, replace(moment, keep=True))
        copied = [{name: value.clone() for name, value in item.items()} for item in picks]
        held = (None if part is None else part.detach().clone() for part in vars(context.candidates).values())
        context = replace(context, candidates=Candidates(*held))  # the engine writes the next batch into them
        seen.append(
            SimpleNamespace(context=context, main=moment.main, weights=weights, total=total.detach(), picks=copied)
        )
        return total, picks if moment.keep else []

    engine.step_of.losses = spy
    engine.run(lambda score: None)
    return seen


def trained(seeds: list[int], stop: int | None = None, **sections: dict) -> Engine:
    """An engine of the toy config that was run."""
    return run(Engine(config(**sections), seeds, split(), split(seed=5), CPU), stop)


def assert_resumes(make: Callable[[], Engine], stops: Iterable[int], folder: Path) -> Engine:
    """A run that is stopped and resumed from its checkpoint ends bit for bit as one that is not."""
    whole = run(make())
    for stop in stops:
        checkpoint.save(run(make(), stop), folder, {"digest": "x"})
        torch.manual_seed(stop)  # the state of torch's own generator plays no part
        resumed = make()
        assert checkpoint.load(resumed, folder, {"digest": "x"}) and resumed.step == stop
        run(resumed)
        for left, right in ((whole.state(), resumed.state()), (whole.best, resumed.best)):
            assert left.keys() == right.keys()
            for name, value in left.items():
                torch.testing.assert_close(right[name], value, rtol=0, atol=0, equal_nan=True, msg=name)
        assert repr(whole.curves) == repr(resumed.curves)
    return whole
