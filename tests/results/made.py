"""A made-up study whose protocols carry fingerprints that belong to their content."""

from __future__ import annotations

from pathlib import Path

from fne.protocols import finish
from fne.study.api import Study
from fne.utils.files import read_json, write_json
from tests.report.synthetic import PAPER, Fake, study_of, write_study

SMALL = tuple(fake for fake in PAPER if fake.id in ("hardest_in_batch", "fne", "infonce", "random"))


def make(root: Path, name: str = "four", fakes: tuple[Fake, ...] = SMALL, **changes: object) -> Study:
    """Write it below ``root``; ``changes`` go into the fingerprint of each protocol."""
    study = study_of(name, fakes, (0, 1, 2, 3, 4), "hardest_in_batch")
    write_study(root, fakes=fakes, study=study, resources=False)
    sign(root / "results" / name, **changes)
    return study


def sign(folder: Path, **changes: object) -> None:
    """Give each protocol the fingerprint of its content, after some changes."""
    protocols = read_json(folder / "protocols.json")
    for name, facts in protocols.items():
        content = {key: value for key, value in (facts | changes).items() if key not in ("id", "tie_rule")}
        protocols[name] = finish(content, (facts | changes)["tie_rule"])
    write_json(folder / "protocols.json", protocols)
