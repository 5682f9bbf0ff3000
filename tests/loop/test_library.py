"""What `from fne import ...` offers: every strategy and loss in the same way, and each of them trains."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
import torch

import fne
from tests.rules import LOSSES, STRATEGIES
from tests.training import toy

ENTRIES = [*STRATEGIES.values(), *LOSSES.values()]
RULES = [{"strategy": name} for name in STRATEGIES] + [{"loss": name} for name in LOSSES]


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, time; start = time.process_time(); import fne; took = time.process_time() - start\n"
        "assert took < 0.1, took\nprint(sorted({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
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
