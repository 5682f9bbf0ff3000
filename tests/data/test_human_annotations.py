"""Human judgements: both formats, their thresholds, which queries are scored, and malformed lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fne.data.human_annotations import Judgement, annotated_truth, read_judgements
from fne.data.truth import Truth
from fne.utils.errors import UserError

KNOWN = {"a.jpg": 2, "b.jpg": 3, "c.jpg": 1, "ä.jpg": 1}


def read(folder: Path, **texts: str) -> list[Judgement]:
    for kind, text in texts.items():
        (folder / f"{kind}.txt").write_text(text, encoding="utf-8")
    return read_judgements({kind: folder / f"{kind}.txt" for kind in texts}, KNOWN)


@pytest.mark.parametrize(
    ("share", "yes", "no", "positive"),
    [("1", 3, 0, True), ("0.66667", 2, 1, True), ("0.5", 2, 2, False), ("0.33333", 1, 2, False), ("0", 0, 3, False)],
)
def test_crowd_needs_more_than_half(tmp_path: Path, share: str, yes: int, no: int, positive: bool) -> None:
    (item,) = read(tmp_path, crowdflower=f"a.jpg\tb.jpg#2\t{share}\t{yes}\t{no}\n")
    assert item == Judgement("a.jpg", ("b.jpg", 2), float(share), positive, "crowdflower")


@pytest.mark.parametrize(
    ("scores", "positive", "share"),
    [("4\t4\t4", True, 1.0), ("3\t3\t3", True, 2 / 3), ("2\t3\t4", True, 2 / 3), ("2\t3\t3", False, 5 / 9),
     ("1\t1\t1", False, 0.0)],
)  # fmt: skip
def test_experts_need_a_mean_of_three(tmp_path: Path, scores: str, positive: bool, share: float) -> None:
    (item,) = read(tmp_path, expert=f"a.jpg\tb.jpg#0\t{scores}\n")
    assert item.positive is positive and item.share == pytest.approx(share) and item.source == "expert"


def test_experts_overrule_the_crowd(tmp_path: Path) -> None:
    crowd = "a.jpg\tb.jpg#0\t1\t3\t0\na.jpg\tb.jpg#1\t1\t3\t0\n"
    annotated = read(tmp_path, crowdflower=crowd, expert="a.jpg\tb.jpg#0\t1\t1\t2\n")
    assert {item.caption[1]: (item.positive, item.source) for item in annotated} == {
        0: (False, "expert"),
        1: (True, "crowdflower"),
    }


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("crowdflower", "a.jpg\tb.jpg#0\t1\t3", "malformed"),
        ("crowdflower", "a.jpg\tb.jpg#0\t1\t3\t0\t0", "malformed"),
        ("crowdflower", "a.jpg\tb.jpg#0\tyes\t3\t0", "malformed"),
        ("crowdflower", "a.jpg\tb.jpg#0\tnan\t3\t0", "malformed"),
        ("crowdflower", "a.jpg\tb.jpg#0\t-1\t-1\t2", "malformed"),
        ("crowdflower", "a.jpg\tb.jpg\t1\t3\t0", "malformed"),
        ("expert", "a.jpg\tb.jpg#0\t1\t3\t0", "malformed"),
        ("expert", "a.jpg\tb.jpg#0\t1\t3\t2.5", "malformed"),
        ("expert", "a.jpg\tb.jpg#0\t1\t3", "malformed"),
        ("crowdflower", "aa.jpg\tb.jpg#0\t1\t3\t0", "unknown image; got 'aa.jpg'; did you mean 'a.jpg'"),
        ("crowdflower", "a.jpg\txyz.png#0\t1\t3\t0", "unknown image; got 'xyz.png'; is this"),
        ("crowdflower", "a.jpg\tb.jpg#3\t1\t3\t0", "unknown caption; got 3; allowed: #0 to #2"),
        ("crowdflower", "b.jpg\tb.jpg#1\t1\t3\t0", "a pair judged twice"),
        ("crowdflower", "a.jpg\tb.jpg#" + "9" * 5000 + "\t1\t3\t0", "malformed"),
        ("crowdflower", "A.JPG\tb.jpg#0\t1\t3\t0", "unknown image; got 'A.JPG'; did you mean 'a.jpg'"),
        ("crowdflower", "a\u0308.jpg\tb.jpg#0\t1\t3\t0", "unknown image; .*did you mean 'ä.jpg'"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path: Path, kind: str, line: str, message: str) -> None:
    good = "b.jpg\tb.jpg#1\t" + {"crowdflower": "1\t3\t0", "expert": "4\t4\t4"}[kind]
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, **{kind: f"{good}\n\n{line}\n"})
    assert f"{kind}.txt: line 3: " in str(caught.value)


def test_truth_of_judgements() -> None:
    """Images a (captions 0, 1), b (2, 3, 4), c (5) of test; a caption of b equals one of a and one of c."""
    nobody = np.zeros(0, np.int32)
    own = [[0, 0], [0, 1], [1, 2], [1, 3], [1, 4], [2, 5]]
    equal = [[0, 2], [1, 0], [1, 5], [2, 2]]
    provable = Truth("equal_captions", np.array(sorted(own + equal), np.int32), nobody, nobody)
    judgements = [
        Judgement("c.jpg", ("a.jpg", 1), 1.0, True, "crowdflower"),  # extra positive
        Judgement("a.jpg", ("b.jpg", 2), 0.0, False, "crowdflower"),  # extra negative
        Judgement("a.jpg", ("b.jpg", 0), 0.2, False, "expert"),  # refuses what equal texts would prove
        Judgement("a.jpg", ("a.jpg", 0), 0.0, False, "crowdflower"),  # own pairs stay whatever people say
        Judgement("a.jpg", ("elsewhere.jpg", 0), 1.0, True, "crowdflower"),  # not within the split
        Judgement("elsewhere.jpg", ("a.jpg", 0), 1.0, True, "crowdflower"),
    ]
    truth = annotated_truth(judgements, [("a.jpg", 2), ("b.jpg", 3), ("c.jpg", 1)], provable)
    assert truth.kind == "judged"
    assert truth.pairs.tolist() == sorted([*own, [1, 0], [1, 5], [2, 2], [2, 1]])
    assert truth.image_queries.tolist() == [0, 2]
    assert truth.caption_queries.tolist() == [0, 1, 2, 4]
    assert truth.extra["judged_pairs"].tolist() == [[0, 0], [0, 2], [0, 4], [2, 1]]
    np.testing.assert_allclose(truth.extra["judged_share"], [0.0, 0.2, 0.0, 1.0])
    assert truth.extra["judged_positive"].tolist() == [0, 0, 0, 1]
    assert truth.extra["judged_source"].tolist() == [0, 1, 0, 0]
