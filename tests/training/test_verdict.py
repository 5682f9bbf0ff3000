"""What is known of a picked pair: relevant, not relevant, or nothing, by the kind of truth of the training split."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from fne.data.truth import KINDS, Truth, sorted_pairs
from fne.results import runs
from fne.training import picks
from fne.training.data import Pairs
from fne.training.engine import Engine
from tests.training import toy

IMAGES, CAPTIONS = 11, 23
OWNER = np.sort(np.concatenate([np.arange(IMAGES), np.random.default_rng(0).integers(0, IMAGES, CAPTIONS - IMAGES)]))


def made(kind: str) -> tuple[Truth, dict[tuple[int, int], bool]]:
    """A truth and, by pair, what is known of it; a pair that is missing there is not known."""
    draw, extra = np.random.default_rng(7), {}
    known = {cell: bool(draw.random() < 0.1) for cell in itertools.product(range(IMAGES), range(CAPTIONS))}
    if kind == "equal_captions":
        known = {cell: True for cell, relevant in known.items() if relevant}
    elif kind == "judged":
        known = {cell: relevant for cell, relevant in known.items() if draw.random() < 0.3}
        extra = {"judged_pairs": sorted_pairs(np.array(list(known)))}
    # The own pairs, also where people annotated otherwise.
    known |= {(int(image), caption): True for caption, image in enumerate(OWNER)}
    pairs = sorted_pairs(np.array([cell for cell, relevant in known.items() if relevant]))
    nobody = np.zeros(0, np.int32)
    return Truth(kind, pairs, nobody, nobody, extra), known


def pairs_of(truth: Truth | None) -> Pairs:
    view = SimpleNamespace(caption_image=OWNER, image_rows=range(IMAGES), caption_rows=range(CAPTIONS))
    fields = Pairs.fields(view, truth, torch.device("cpu"))
    assert fields["known"] is None or truth.kind != "exact"
    return type("Some", (Pairs,), {"learner": None})(**fields)


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_pair_the_verdict_is_what_is_known(kind: str) -> None:
    truth, known = made(kind)
    split, seen = pairs_of(truth), set()
    for i, c in itertools.product(range(-1, IMAGES), range(-1, CAPTIONS)):
        pair = torch.tensor(i), torch.tensor(c)
        verdict = int(split.verdict(*pair))
        assert verdict == known.get((i, c), -1) and bool(split.false_negative(*pair)) == (verdict == 1)
        seen.add(verdict)
    assert seen == ({-1, 1} if kind == "equal_captions" else {-1, 0, 1})
    assert (split.known is split.truth) == (kind == "equal_captions")  # one mask, not two of gigabytes


def test_without_truth_nothing_is_known() -> None:
    image, caption = torch.meshgrid(torch.arange(IMAGES), torch.arange(CAPTIONS), indexing="ij")
    assert (pairs_of(None).verdict(image, caption) == -1).all()


def test_a_pick_that_nobody_knows_of_is_missing_from_the_file_to_the_table(tmp_path) -> None:
    """Training with equal captions alone writes no single true negative, and the reader makes missing of what is."""
    whole, kept = toy.split(), {}
    for name, split in (("exact", whole), ("equal_captions", replace(whole, known=whole.truth))):
        engine = toy.run(Engine(toy.config(audit={"picks": "full"}), [0], split, toy.split(seed=5), toy.CPU))
        (tmp_path / name).mkdir()
        picks.write(tmp_path / name / "picks.npz", {key: of.numpy() for key, of in engine.picks.columns().items()})
        kept[name] = runs.picks_of([tmp_path / name])["false_negative"]
    exact, part = kept["exact"], kept["equal_captions"]
    assert set(exact) == {0, 1} and str(exact.dtype) == "Int8"
    assert part.isna().sum() > 0 and set(part.dropna()) == {1}
    pd.testing.assert_series_equal(part.fillna(0), exact)  # training is the same, whatever is known
