"""Recorded components of variance, ``ablations/variance.yaml``: written by a study of draws, read strictly."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, create_model

from fne.analysis.components import IMAGES, INTERACTION, SEED, Another, Component, Components
from fne.study.model import Count, NotNegative
from fne.study.series import Series
from fne.study.study import Study, resolve
from fne.utils.fields import Distinct, Text, canonical, flatten, unflatten
from fne.utils.files import SCHEMAS, require_schema, write_text
from fne.utils.models import Section, read_parts, read_section
from fne.utils.names import show
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

FILE = Path("ablations", "variance.yaml")
ALL = "all variants"
"""The components of all variants together; no variant can be called so."""
PRIMARY = ("protocol", "direction", "metric")
HEADER = """\
# Components of variance: where a score (levels) and a difference to the baseline (differences) get their variance from,
# and the data and encoders for which that holds. Fractions squared (rsum: 0 to 6); low, high: 95 % interval.
# seed: one run; images: one test split; another: the sum of all factors and of their interaction, and its error.
# Written by `fne compare`; put into ablations/variance.yaml, it widens the intervals of such studies.
"""
NONE = f"there is no {FILE.as_posix()}, which a study of draws writes"


class Primary(Section):
    """The primary metric of the study that measured."""

    protocol: Text
    direction: Text
    metric: Text


class Part(Section):
    """A component as the file has it."""

    variance: NotNegative
    low: NotNegative
    high: NotNegative


class Sum(Section):
    """What another cell adds, as the file has it."""

    variance: NotNegative
    error: NotNegative
    levels: Annotated[int, Field(ge=2)]


class Variance(Section):
    """What one study of draws says about the studies that are like it.

    Args:
        study: The study that measured it.
        date: When, ``YYYY-MM-DD``.
        regime, primary, baseline: Of that study.
        factors: Values of each factor, by its dotted key.
        data, encoders: Those sections, flat and without the factors.
        cells, runs, seeds: Points of its design, runs of all variants, seeds per variant and cell.
        levels: Components of the primary score by variant, and of :data:`ALL` together.
        differences: Components of the difference to the baseline, likewise.
    """

    study: Text
    date: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$", title='a date, "YYYY-MM-DD"')]
    regime: Text
    primary: Primary
    baseline: Text
    factors: dict[str, Annotated[list[float], Distinct, Field(min_length=2, title="a list of two numbers or more")]]
    data: dict[str, Any]
    encoders: dict[str, Any]
    cells: Count
    runs: Count
    seeds: Count
    levels: dict[str, Any]
    differences: dict[str, Any]

    def another(self, variant: str, baseline: str | None = None) -> tuple[Another, str]:
        """What another cell adds to a variant's score, or to its difference to a baseline, and whose component that is.

        The variant's own where it was measured, against the same baseline; else that of all together.
        """
        if variant == self.baseline and baseline is not None:  # a difference and its opposite vary alike
            variant, baseline = baseline, variant
        result = self.levels if baseline is None else self.differences
        own = variant in result and baseline in (None, self.baseline)
        return result[variant if own else ALL].another, variant if own else "all variants together"

    def why_not(self, study: Study) -> str:
        """Why it does not hold for a study; empty where it does.

        It holds for the same regime, primary metric, data and encoders, the factors aside. A key that the study lacks
        is one that nothing reads there, as ``data.pretrain`` with the shipped encoders.
        """
        for name, its, here in (("regime", self.regime, study.regime),
                                ("primary", dict(self.primary), _primary(study))):  # fmt: skip
            if its != here:
                return self._only_for(name, its, here)
        for section, here in _held(study, self.factors).items():
            its = getattr(self, section)
            for key, value in here.items():
                if key not in its or canonical(its[key]) != canonical(value):
                    return self._only_for(key, its.get(key, "absent"), value)
        return ""

    def _only_for(self, key: str, its: Any, here: Any) -> str:
        its, here = (" ".join(item.values()) if isinstance(item, dict) else show(item) for item in (its, here))
        return f"study {self.study} measured components of variance with {key} {its}, not {here}"


def write_variance(file: Path, series: Series, result: Mapping[tuple[str, str], Components]) -> None:
    """Write what a study of draws measured.

    Args:
        file: ``results/<study>/variance.yaml``; a person who finds it sound copies it to :data:`FILE`.
        series: The study; it has random factors alone.
        result: Components by (``"level"`` or ``"difference"``, variant); of all variants together the variant is empty.
    """
    shared = series.shared
    record: dict[str, Any] = {
        "schema": SCHEMAS["variance"],
        "study": series.name,
        "date": datetime.date.today().isoformat(),
        "regime": shared.regime,
        "primary": _primary(shared),
        "baseline": shared.baseline,
        "factors": {key: list(values) for key, values in series.factors.items()},
    }
    for section in ("data", "encoders"):  # members differ in the factors, and in what is read with one of their values
        members = [_held(member, series.factors)[section] for member in series.members]
        record[section] = unflatten({key: value for member in members for key, value in member.items()})[section]
    record |= {
        "cells": len(series.members),
        "runs": sum(item.runs for (of, variant), item in result.items() if of == "level" and variant),
        "seeds": len(shared.seeds),
    }
    for of in ("level", "difference"):
        record[f"{of}s"] = {variant or ALL: _plain(item) for (its, variant), item in result.items() if its == of}
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    write_text(file, HEADER + text)


def read_variance(root: Path) -> Variance | None:
    """Read and check the recorded components; ``None`` where none are recorded.

    Raises:
        UserError: Lists every problem: another schema, a missing or unknown key, a value of another type, a variance
            that is negative or no number.
    """
    file = Path(root) / FILE
    return read_file(file) if file.is_file() else None


def read_file(file: Path) -> Variance:
    """Read one file of components of variance.

    Raises:
        UserError: As :func:`read_variance`.
    """
    content, problems = read_mapping(file), Problems()
    require_schema(content, "variance", file, "measure the components with this version")
    parts = read_parts(Variance, {key: content[key] for key in content if key != "schema"}, file, problems)
    for of in ("levels", "differences") if not problems.messages else ():
        result = parts[of]
        if ALL not in result:
            problems.report("is missing", file=file, key=f"{of}.{ALL}")
        for variant in result:
            result[variant] = _components(result[variant], [*parts["factors"]], file, f"{of}.{variant}.", problems)
    problems.raise_any(str(file))
    parts["factors"] = {key: tuple(values) for key, values in parts["factors"].items()}
    parts |= {section: flatten(parts[section], file, f"{section}.") for section in ("data", "encoders")}
    return Variance.model_construct(**parts)


def _components(given: Any, factors: list[str], file: Path, prefix: str, problems: Problems) -> Components | None:
    """The components of one score; None where anything is wrong with them."""
    if isinstance(given, dict) and INTERACTION in given:
        factors = [*factors, INTERACTION]
    sources: dict[str, Any] = dict.fromkeys((*factors, SEED, IMAGES), (Part, ...))
    model = create_model(
        "Parts", __base__=Section, cells=(Count, ...), runs=(Count, ...), another=(Sum, ...), **sources
    )
    section = read_section(model, given, file, problems, prefix)
    if section is None:
        return None
    result = dict(section)
    parts = {source: Component(**dict(result[source])) for source in sources}
    another = Another(**dict(result["another"]))
    return Components(parts, another, result["cells"], result["runs"])


def _primary(study: Study) -> dict[str, str]:
    return {key: study.primary[key] for key in PRIMARY}


def _held(study: Study, factors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections that must be equal, flat and without the factors."""
    sections = {"data": study.data, "encoders": resolve(study, study.variants[0])["encoders"]}
    return {
        name: {key: value for key, value in flatten(section, None, f"{name}.").items() if key not in factors}
        for name, section in sections.items()
    }


def _plain(result: Components) -> dict[str, Any]:
    """Six digits that count: more than any of these numbers is known to."""
    record: dict[str, Any] = {"cells": result.cells, "runs": result.runs}
    parts: dict[str, Component | Another] = {**result.sources, "another": result.another}
    for source, item in parts.items():
        record[source] = {
            key: value if isinstance(value, int) else float(f"{value:.6g}") for key, value in item._asdict().items()
        }
    return record
