"""What `from fne import ...` offers: every strategy and loss in the same way, and each of them trains."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fne
from tests.rules import LOSSES, STRATEGIES
from tests.training import toy

ENTRIES = [*STRATEGIES.values(), *LOSSES.values()]
RULES = [{"strategy": name} for name in STRATEGIES] + [{"loss": name} for name in LOSSES]


def test_importing_the_package_is_light() -> None:
    code = "import sys, fne; print(sorted({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_strategy_and_loss_is_offered_by_the_name_of_its_class() -> None:
    classes = [entry.load() for entry in ENTRIES]
    assert len({each.__name__ for each in classes} | set(fne.LIBRARY)) == len(classes) + len(fne.LIBRARY)
    assert all(getattr(fne, each.__name__) is each for each in classes)
    assert {each.__name__ for each in classes} | set(fne.LIBRARY) <= set(dir(fne))
    assert fne.InfoNCE is LOSSES["infonce"].load()


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ImportError, match="MemoryQeue.*did you mean 'MemoryQueue'"):
        exec("from fne import MemoryQeue")
    with pytest.raises(AttributeError, match="did you mean 'TripletLoss'"):
        _ = fne.TripleLoss
    assert not hasattr(fne, "NoSuchThing") and not hasattr(fne, "no_such_thing")


@pytest.mark.parametrize(
    ("name", "option", "value", "saying"),
    [
        ("FalseNegativeElimination", "elimination", "relased", "did you mean 'released'"),
        ("FalseNegativeElimination", "population", "queues", "did you mean 'queue'"),
        ("FalseNegativeElimination", "tau", -1.0, "number >= 0"),
        ("FalseNegativeElimination", "min_positives", 0.5, "integer"),
        ("FalseNegativeElimination", "margin", "x", "must be a number"),
        ("TripletLoss", "margin", -0.1, ">= 0"),
        ("InfoNCE", "temperature", 0.0, "> 0"),
        ("InfoNCE", "temperature", float("nan"), "> 0"),
        ("FalseNegativeCancellation", "top_k", -1, ">= 1"),
    ],
)
def test_an_option_that_a_study_refuses_is_refused(name: str, option: str, value: object, saying: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"{name}(Loss)?: {option}: .*{saying}"):
            getattr(fne, name)(**{option: value})


def test_options_of_a_learned_temperature_and_of_a_subclass_are_their_own() -> None:
    temperature = torch.nn.Parameter(torch.tensor(0.05))
    assert fne.InfoNCE(temperature=temperature).temperature is temperature

    class Mine(fne.TripletLoss):
        pass

    assert Mine(margin=-1.0).margin == -1.0 and fne.TripletLoss(margin=0).margin == 0


def step(
    rule: dict[str, str], criterion: fne.MatchingLoss | None, device: str
) -> tuple[fne.MatchingLoss, torch.Tensor]:
    """One call with everything that a rule may need, of released defaults; the gradient of the images."""
    sections = toy.rule(**rule)
    if criterion is None:
        strategy = STRATEGIES[sections["negatives"]["strategy"]].load()()
        loss = LOSSES[sections["loss"]["kind"]].load()()
        criterion = fne.MatchingLoss(strategy, loss, fne.MemoryQueue(40, dim=12), sizes=(16, 16))
    image, text, *others = torch.randn(6, 16, 12, generator=torch.Generator().manual_seed(0)).to(device)
    image.requires_grad_()
    ids = torch.arange(16) // 2, torch.arange(16)
    loss = criterion(image, text, *ids, momentum=tuple(others[:2]), guide=tuple(others[2:]))
    loss.backward()
    assert loss.device.type == device and loss.ndim == 0
    return criterion, image.grad


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_each_trains_with_its_defaults_and_moves_to_another_device(rule, monkeypatch) -> None:
    """The device `meta` computes no values: it refuses what stayed on the CPU, and any look at a value."""
    criterion, gradient = step(rule, None, "cpu")
    assert gradient.isfinite().all() and gradient.any()
    monkeypatch.setattr(torch, "autocast", lambda *device, **options: contextlib.nullcontext())  # not for meta
    step(rule, criterion, "meta")


@pytest.mark.gpu
def test_each_trains_on_a_gpu() -> None:
    for rule in RULES:
        step(rule, step(rule, None, "cpu")[0], "cuda")


def test_the_page_names_every_rule_and_loss() -> None:
    page = (Path(fne.__file__).parents[1] / "docs/how-to/library.md").read_text("utf-8")
    rules = {entry.load().__name__ for entry in ENTRIES}
    assert rules <= {*re.findall(r"\w+", page)}
