"""Recorded components of variance, ``ablations/variance.yaml``: written by a study of draws, read strictly."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fne.analysis.components import IMAGES, INTERACTION, SEED, Another, Component, Components
from fne.study.series import Series
from fne.study.study import Study, resolve
from fne.study.variants import text_of
from fne.utils.errors import bad_input
from fne.utils.fields import canonical, flatten, unflatten
from fne.utils.files import SCHEMAS, require_schema, write_text
from fne.utils.models import only_keys
from fne.utils.names import show
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

FILE = Path("ablations", "variance.yaml")
ALL = "all variants"
"""The components of all variants together; no variant can be called so."""
PRIMARY = ("protocol", "direction", "metric")
COUNTS = ("cells", "runs")
KEYS = ("schema", "study", "date", "regime", "primary", "baseline", "factors", "data", "encoders", *COUNTS, "seeds",
        "levels", "differences")  # fmt: skip
HEADER = """\
# Components of variance: where a score (levels) and a difference to the baseline (differences) get their variance from,
# and the data and encoders for which that holds. Fractions squared (rsum: 0 to 6); low, high: 95 % interval.
# seed: one run; images: one test split; another: the sum of all factors and of their interaction, and its error.
# Written by `fne compare`; put into ablations/variance.yaml, it widens the intervals of such studies.
"""
NONE = f"there is no {FILE.as_posix()}, which a study of draws writes"


@dataclass(frozen=True)
class Variance:
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

    study: str
    date: str
    regime: str
    primary: Mapping[str, str]
    baseline: str
    factors: Mapping[str, tuple[float, ...]]
    data: Mapping[str, Any] = field(repr=False)
    encoders: Mapping[str, Any] = field(repr=False)
    cells: int
    runs: int
    seeds: int
    levels: Mapping[str, Components] = field(repr=False)
    differences: Mapping[str, Components] = field(repr=False)

    def another(self, variant: str, baseline: str | None = None) -> tuple[Another, str]:
        """What another cell adds to a variant's score, or to its difference to a baseline, and whose component that is.

        The variant's own where it was measured, against the same baseline; else that of all together.
        """
        if variant == self.baseline and baseline is not None:  # a difference and its opposite vary alike
            variant, baseline = baseline, variant
        found = self.levels if baseline is None else self.differences
        own = variant in found and baseline in (None, self.baseline)
        return found[variant if own else ALL].another, variant if own else "all variants together"

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
        its, here = (" ".join(one.values()) if isinstance(one, dict) else show(one) for one in (its, here))
        return f"study {self.study} measured components of variance with {key} {its}, not {here}"


def write_variance(file: Path, series: Series, found: Mapping[tuple[str, str], Components]) -> None:
    """Write what a study of draws measured.

    Args:
        file: ``results/<study>/variance.yaml``; a person who finds it sound copies it to :data:`FILE`.
        series: The study; it has random factors alone.
        found: Components by (``"level"`` or ``"difference"``, variant); of all variants together the variant is empty.
    """
    shared = series.shared
    told: dict[str, Any] = {
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
        told[section] = unflatten({key: value for member in members for key, value in member.items()})[section]
    told |= {
        "cells": len(series.members),
        "runs": sum(one.runs for (of, variant), one in found.items() if of == "level" and variant),
        "seeds": len(shared.seeds),
    }
    for of in ("level", "difference"):
        told[f"{of}s"] = {variant or ALL: _told(one) for (its, variant), one in found.items() if its == of}
    text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    write_text(file, HEADER + text)


def read_variance(root: Path) -> Variance | None:
    """Read and check the recorded components; ``None`` where none are recorded.

    Raises:
        UserError: Lists every problem: another schema, a missing or unknown key, a value of another type, a variance
            that is negative or no number, an interval that its estimate is outside of, a sum that is none.
    """
    file = Path(root) / FILE
    return read_file(file) if file.is_file() else None


def read_file(file: Path) -> Variance:
    """Read one file of components of variance.

    Raises:
        UserError: As :func:`read_variance`.
    """
    content = read_mapping(file)
    require_schema(content, "variance", file, "measure the components with this version")
    problems = Problems()
    with problems.collect():
        only_keys(content, KEYS, file)
    for key in KEYS:
        if key not in content:
            problems.report("is missing", file=file, key=key)
    problems.raise_any(str(file))
    texts: dict[str, str] = {}
    for key in ("study", "date", "regime", "baseline"):
        with problems.collect():
            texts[key] = text_of(content, key, file)
    with problems.collect():
        _check_date(texts.get("date", ""), file)
    sections: dict[str, Mapping[str, Any]] = {}
    for key in ("primary", "factors", "data", "encoders", "levels", "differences"):
        with problems.collect():
            sections[key] = _mapping(content[key], file, key)
    if "primary" in sections:
        with problems.collect():
            _exactly(sections["primary"], PRIMARY, file, "primary.")
            for key in PRIMARY:
                text_of({f"primary.{key}": sections["primary"][key]}, f"primary.{key}", file)
    factors: dict[str, tuple[float, ...]] = {}
    for key, values in flatten(sections.get("factors", {}), file).items():
        if not isinstance(values, list) or len({*map(str, values)}) < 2 or not all(map(_is_number, values)):
            problems.report("must be a list of two numbers or more", file=file, key=f"factors.{key}", value=values)
        else:
            factors[key] = tuple(values)
    for key in (*COUNTS, "seeds"):
        with problems.collect():
            _check_count(content[key], file, key)
    problems.raise_any(str(file))
    found: dict[str, dict[str, Components]] = {}
    for of in ("levels", "differences"):
        if ALL not in sections[of]:
            problems.report("is missing", file=file, key=f"{of}.{ALL}")
        found[of] = {}
        for variant, given in sections[of].items():
            with problems.collect():
                found[of][variant] = _components(given, list(factors), file, f"{of}.{variant}")
    problems.raise_any(str(file))
    return Variance(
        study=texts["study"], date=texts["date"], regime=texts["regime"], baseline=texts["baseline"],
        primary=dict(sections["primary"]), factors=factors,
        data=flatten(sections["data"], file, "data."), encoders=flatten(sections["encoders"], file, "encoders."),
        cells=content["cells"], runs=content["runs"], seeds=content["seeds"],
        levels=found["levels"], differences=found["differences"],
    )  # fmt: skip


def _primary(study: Study) -> dict[str, str]:
    return {key: study.primary[key] for key in PRIMARY}


def _held(study: Study, factors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections that must be equal, flat and without the factors."""
    sections = {"data": study.data, "encoders": resolve(study, study.variants[0])["encoders"]}
    return {
        name: {key: value for key, value in flatten(section, None, f"{name}.").items() if key not in factors}
        for name, section in sections.items()
    }


def _told(found: Components) -> dict[str, Any]:
    """Six digits that count: more than any of these numbers is known to."""
    told: dict[str, Any] = {"cells": found.cells, "runs": found.runs}
    parts: dict[str, Component | Another] = {**found.sources, "another": found.another}
    for source, one in parts.items():
        told[source] = {
            key: value if isinstance(value, int) else float(f"{value:.6g}") for key, value in one._asdict().items()
        }
    return told


def _components(given: Any, factors: list[str], file: Path, where: str) -> Components:
    given, problems = _mapping(given, file, where), Problems()
    if INTERACTION in given:
        factors = [*factors, INTERACTION]
    _exactly(given, (*COUNTS, *factors, SEED, IMAGES, "another"), file, f"{where}.")
    for key in COUNTS:
        with problems.collect():
            _check_count(given[key], file, f"{where}.{key}")
    sources: dict[str, Component] = {}
    for source in (*factors, SEED, IMAGES):
        with problems.collect():
            sources[source] = Component(**_numbers(given[source], Component._fields, file, f"{where}.{source}"))
            one = sources[source]
            if not one.low <= one.variance <= one.high:
                raise bad_input("is not within its interval", file=file, key=f"{where}.{source}", value=one.variance,
                                allowed=f"{one.low} to {one.high}")  # fmt: skip
    another, place = Another(0.0, 0.0, 2), f"{where}.another"
    with problems.collect():
        counted = _mapping(given["another"], file, place)
        _exactly(counted, Another._fields, file, f"{place}.")
        numbers = _numbers({key: counted[key] for key in ("variance", "error")}, ("variance", "error"), file, place)
        _check_count(counted["levels"], file, f"{place}.levels", least=2)
        another = Another(**numbers, levels=counted["levels"])
    problems.raise_any(where)
    total = sum(sources[factor].variance for factor in factors)
    if not math.isclose(another.variance, total, rel_tol=1e-4, abs_tol=1e-15):
        raise bad_input("is not the sum of its factors and their interaction", file=file, key=f"{place}.variance",
                        value=another.variance, allowed=f"{total:.6g}")  # fmt: skip
    return Components(sources, another, given["cells"], given["runs"])


def _mapping(given: Any, file: Path, key: str) -> Mapping[str, Any]:
    if not isinstance(given, dict) or not given:
        raise bad_input("must be a mapping", file=file, key=key, value=given)
    return given


def _exactly(given: Mapping[str, Any], keys: tuple[str, ...], file: Path, prefix: str) -> None:
    problems = Problems()
    with problems.collect():
        only_keys(given, keys, file, prefix)
    for key in keys:
        if key not in given:
            problems.report("is missing", file=file, key=f"{prefix}{key}")
    problems.raise_any(str(file))


def _numbers(given: Any, names: tuple[str, ...], file: Path, where: str) -> dict[str, float]:
    """Variances (or their error) by name: finite and not negative."""
    given, problems = _mapping(given, file, where), Problems()
    _exactly(given, names, file, f"{where}.")
    for name in names:
        value = given[name]
        if not _is_number(value) or not 0 <= value < math.inf:
            problems.report("cannot be", file=file, key=f"{where}.{name}", value=value, allowed="a number, 0 or more")
    problems.raise_any(where)
    return {name: float(given[name]) for name in names}


def _check_count(value: Any, file: Path, key: str, least: int = 1) -> None:
    if type(value) is not int or value < least:
        raise bad_input("must be a whole number", file=file, key=key, value=value, allowed=f"{least} or more")


def _check_date(date: str, file: Path) -> None:
    try:
        datetime.date.fromisoformat(date)
    except ValueError:
        raise bad_input("must be a date", file=file, key="date", value=date, allowed='"YYYY-MM-DD"') from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
