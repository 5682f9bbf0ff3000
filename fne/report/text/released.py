"""What of a study's method is the authors' release, in one sentence: its rule, and which of its values are not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.study.library import Library
from fne.study.study import Study
from fne.utils.fields import canonical
from fne.utils.names import show

STRATEGY = "negatives.strategy"
RULE = ("negatives.", "loss.kind", "memory.kind")
"""Keys that say which negative is taken out of what, and what it costs."""
ELSEWHERE = ("data.", "encoders.image.checkpoint", "encoders.text.checkpoint", "model.", "evaluation.", "audit.")
"""Keys of which the release states nothing that could be kept to."""


def released(study: Study) -> str:
    """What of a study's method is the authors' release, in a sentence; empty without a method or their values."""
    if study.method is None or not (library := Library(study.root)).released:
        return ""
    title, config = study.library[study.method].title, study.configs[study.method]
    chosen = study.chosen.get(study.method, {})
    return sentence(title, config, library.base | library.released, chosen, study.as_released)


def sentence(title: str, config: Mapping[str, Any], release: Mapping[str, Any], tuned: Mapping[str, Any],
             as_released: bool) -> str:  # fmt: skip
    """Say what is the release's: the rule alone, or the values too, and name every exception and every tuned value.

    Args:
        title: Of the variant.
        config: Of the variant, flat.
        release: The release's value of every run key, flat.
        tuned: The values that tuning chose for it, flat; one that the command line changed is none of them.
        as_released: Whether the study states that it follows the release's values.
    """
    rule = _exceptions(config, release, lambda key: key.startswith(RULE))
    words = f"{title}: the rule of the authors' release"
    if config[STRATEGY] != release[STRATEGY]:
        words = f"{title}: a rule of this study, {STRATEGY} = {show(config[STRATEGY])}, and not the authors' release"
    elif as_released:
        others = _exceptions(config, release, lambda key: not key.startswith((*RULE, *ELSEWHERE)))
        words += f" and its values{_but([*rule, *others])}"
    else:
        words += f"{_but(rule)}; its other values are this study's"
    kept = {key: value for key, value in tuned.items() if canonical(config.get(key)) == canonical(value)}
    chosen = ", ".join(f"{key} = {show(value)}" for key, value in kept.items())
    return words + (f"; tuned on validation: {chosen}." if chosen else ".")


def _exceptions(config: Mapping[str, Any], release: Mapping[str, Any], of: Any) -> list[str]:
    return [
        f"{key} = {show(value)} (release: {show(release[key])})"
        for key, value in config.items()
        if of(key) and key in release and canonical(value) != canonical(release[key])
    ]


def _but(exceptions: list[str]) -> str:
    return f", but for {', '.join(exceptions)}" if exceptions else ""
