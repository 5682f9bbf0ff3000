"""Names of the files that tell of a series; which there are depends on its factors."""

from __future__ import annotations

from fne.study.series import Series


def figures(series: Series) -> tuple[str, ...]:
    """Each is written as ``.svg`` and ``.png``."""
    if series.grows:
        return ("series",)
    return (*(["components"] if series.random else []), "cells")


def tables(series: Series) -> tuple[str, ...]:
    """Each is written as ``.html``, ``.md``, ``.tex`` and ``.csv``."""
    worlds = ("main", "differences", "losses", "worlds") if series.grows else ("main", "worlds")
    return (*(["components"] if series.random else []), *worlds)


def compared(series: Series) -> tuple[str, ...]:
    """What ``compare`` writes into ``results/<series>``."""
    components = ["components.csv"] if series.random else []
    recorded = ["variance.yaml"] if series.random and not series.fixed else []
    return ("worlds.csv", "effects.csv", "picks.csv", *components, *recorded)
