"""What a merged config means: which keys are read, what fits together, its digest. Keys are dotted."""

from __future__ import annotations

import difflib
import functools
import hashlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from fne.encoders.checkpoints import is_path
from fne.negatives.registry import Entry, Plugin
from fne.protocols import PROTOCOLS, RSUM_KS
from fne.study.model import (
    DATASETS,
    EXACT_TRUTH,
    HEAD_LEVELS,
    KEEPING,
    KEPT_ONLY,
    PATH_KEYS,
    PROJECTIONS,
    RATINGS_KEY,
    RELEVANCE_KEYS,
    Judgements,
)
from fne.study.paths import how_to_give
from fne.study.plugins import CONDITIONS, EVERY_KEY, OF_RULES, check_selection, find
from fne.utils.errors import bad_input
from fne.utils.fields import CHOOSERS, OPTION, canonical, flatten, is_read
from fne.utils.problems import Problems


def keys_read(flat: Mapping[str, Any], regime: str | None = None) -> set[str]:
    """The keys of a merged config that its regime, strategy, loss, memory and warm-up read; the others are pruned.

    Args:
        flat: The merged config.
        regime: ``head`` or ``finetune``; None: what either of them reads, for a variant that belongs to no study yet.
    """
    if regime is None:
        return keys_read(flat, "head") | keys_read(flat, "finetune")
    rules = tuple(find(section, flat[chooser]) for section, chooser in CHOOSERS.items())
    requested = {*CONDITIONS, *(name for entry in rules if isinstance(entry, Plugin) for name in entry.keys)}
    return set(_read(tuple(flat), rules, tuple((name, flat[name]) for name in requested if name in flat), regime))


@functools.lru_cache(maxsize=4096)
def _read(
    names: tuple[str, ...], rules: tuple[Entry, ...], asked: tuple[tuple[str, Any], ...], regime: str
) -> frozenset[str]:
    """Those of some keys that are read, by the rules and the values that conditions ask for."""
    own = {name: key for entry in rules for name, key in entry.keys.items()}
    keys, values = {**EVERY_KEY, **own}, {**dict(asked), "regime": regime}
    always = {*CHOOSERS.values(), "negatives.oracle", "data.dataset", *(key for entry in rules for key in entry.shares)}

    def reads(name: str) -> bool:
        known = name in own or (name in keys and name not in OF_RULES)
        return name in always or (known and is_read(name, keys, values))

    return frozenset(filter(reads, names))


def prune(flat: Mapping[str, Any], regime: str) -> dict[str, Any]:
    """Only the keys that are read in a regime, in their given order."""
    read = keys_read(flat, regime)
    return {key: value for key, value in flat.items() if key in read}


def why_unread(key: str, flat: Mapping[str, Any], regime: str | None = None) -> str:
    """Say what ignores a key: the rule that has no such option, or the values that others would have to have."""
    section = key.partition(".")[0]
    if section in CHOOSERS:
        chooser = CHOOSERS[section]
        readers = [name for name in keys_read(flat, regime) if name.startswith(f"{section}.")]
        readers = sorted({*readers} - {chooser, "negatives.oracle"})
        near = difflib.get_close_matches(key, readers, n=1) if OPTION.fullmatch(key) else []
        summary = f"{chooser} {flat[chooser]!r} reads {', '.join(readers) or 'no option'}"
        return summary + (f"; did you mean {near[0]!r}?" if near else "")
    conditions = [
        " and ".join(f"{name} is {in_words(allowed)}" for name, allowed in condition.items())
        for condition in EVERY_KEY[key].when
    ]
    return f"it is read where {' or '.join(conditions)}"


def in_words(allowed: Container[Any]) -> str:
    """The values of a condition, in words."""
    return "above 0" if isinstance(allowed, range) else " or ".join(map(repr, allowed))  # type: ignore[call-overload]


def check_together(flat: Mapping[str, Any], where: str | Path, regime: str = "head") -> None:
    """Check what no single value can show: that the parts of a merged config fit together.

    Raises:
        UserError: Lists every misfit.
    """
    problems = Problems()

    def misfit(key: str, problem: str, **more: Any) -> None:
        problems.report(problem, file=where, key=key, value=flat[key], **more)

    with problems.collect():
        check_selection(flat, where)
    epochs = flat["train.epochs"]
    if flat["warmup.epochs"] >= epochs:
        misfit("warmup.epochs", "leaves no epoch to the strategy", allowed=f"< train.epochs, which is {epochs}")
    if flat["train.schedule"] == "milestones" and flat["train.milestones"][-1] >= epochs:
        misfit("train.milestones", "the last one is never reached", allowed=f"< train.epochs, which is {epochs}")
    if not {*RSUM_KS} <= set(flat["evaluation.ks"]):
        misfit("evaluation.ks", "must hold 1, 5 and 10, the cut-offs of rsum")
    strategy = find("negatives", flat["negatives.strategy"])
    for key, entry in (("negatives.strategy", strategy), ("loss.kind", find("loss", flat["loss.kind"]))):
        if "teacher" in entry.needs and flat["memory.kind"] != "momentum":
            hint = "memory.kind: momentum (memory.size may be 0)"
            misfit(key, f"needs a momentum encoder; memory.kind is {flat['memory.kind']!r}", hint=hint)
        if "guide" in entry.needs and flat["warmup.epochs"] == 0:
            misfit(key, "needs a guide, the encoder at the end of the warm-up, and warmup.epochs is 0")
    high = flat["negatives.max_distance"]
    if "max_distance" in strategy.options and flat["negatives.min_distance"] >= high:
        allowed = f"< negatives.max_distance, which is {high:g}"
        misfit("negatives.min_distance", "leaves nothing to draw", allowed=allowed)
    if "negatives.prior_rate" in keys_read(flat, regime):
        low, high = flat["negatives.prior_floor"], flat["negatives.prior_ceiling"]
        if not low <= flat["negatives.prior"] <= high:
            allowed = f"from prior_floor to prior_ceiling, {low:g} to {high:g}"
            misfit("negatives.prior", "is where em starts, outside its bounds", allowed=allowed)
    dataset, head = flat["data.dataset"], flat["model.head"]
    learned = flat["finetune.temperature"] == "learned" and "finetune.temperature" in keys_read(flat, regime)
    if learned and "loss.temperature" not in find("loss", flat["loss.kind"]).shares:
        problem = f"loss.kind {flat['loss.kind']!r} has no temperature that could be learned"
        misfit("finetune.temperature", problem, allowed=["fixed"], hint="set it in variants whose loss is a softmax")
    key, after, making = space_of(flat, regime)
    if "model.dim" in strategy.shares and after not in making:
        problem = f"needs the width of the embedding, model.dim, which {key} {after!r} does not set"
        misfit("negatives.strategy", problem, hint=f"{key}: {' or '.join(making)}")
    if "negatives.recalibration_images" in keys_read(flat, regime) and DATASETS[dataset] not in EXACT_TRUTH:
        problem = f"is fitted where every relevant pair of the validation split is known; of {dataset!r} it is not"
        misfit("negatives.recalibration", problem, allowed=["none"])
    about = dict.fromkeys(RELEVANCE_KEYS, "test split") | {RATINGS_KEY: "val and test splits"}
    for key, splits in about.items():
        if flat[key] is not None and dataset != "coco":
            misfit(key, f"is about COCO's {splits}; data.dataset is {dataset!r}", allowed=["null"])
    if flat[RATINGS_KEY] and any(flat.get(f"data.judgements.{source}") for source in Judgements.model_fields):
        misfit(RATINGS_KEY, "is a second source of human judgements beside data.judgements", hint="give one of them")
    level = HEAD_LEVELS[head]
    for modality in ("image", "text"):
        if regime == "finetune":
            continue
        if flat[f"encoders.{modality}.pooling"] == "mean_all":
            misfit(
                f"encoders.{modality}.pooling",
                "lets a feature depend on how far its batch is padded, so it cannot be stored",
                hint="it belongs to the regime finetune; mean leaves padding out",
            )
        if flat[f"encoders.{modality}.level"] != level:
            misfit(f"encoders.{modality}.level", f"model.head {head!r} reads {level} features", allowed=[level])
    problems.raise_any(str(where))


def space_of(flat: Mapping[str, Any], regime: str) -> tuple[str, str, list[str]]:
    """The key that says what comes after the encoders, its value, and its values that make a space of their own."""
    if regime == "finetune":
        after = flat["finetune.projection"] if flat["finetune.trained"] != "nothing" else "none"
        return "finetune.projection", after, [name for name, keys in PROJECTIONS.items() if keys]
    return "model.head", flat["model.head"], [name for name in HEAD_LEVELS if name not in KEEPING]


def check_protocol(protocol: str, flat: Mapping[str, Any], where: str | Path, complete: bool) -> None:
    """Check that the primary metric's protocol can be scored on the study's data.

    Raises:
        UserError: It is about COCO's test split and the data are not; or (``complete``) it lacks its relevance files.
    """
    if not PROTOCOLS[protocol].coco:
        return
    if flat["data.dataset"] != "coco":
        problem = f"is about COCO's test split; data.dataset is {flat['data.dataset']!r}"
        allowed = [name for name, item in PROTOCOLS.items() if not item.coco]
        raise bad_input(problem, file=where, key="primary.protocol", value=protocol, allowed=allowed)
    key = f"evaluation.relevance.{protocol}"
    if complete and key in RELEVANCE_KEYS and flat[key] is None:
        from fne.data.coco_relevance import SOURCE

        hint = f"give it: {how_to_give(key)}; {SOURCE}"
        raise bad_input("not given: the study's primary metric needs its folder", file=where, key=key, hint=hint)


def digest(config: Mapping[str, Any]) -> str:
    """Sixteen hex digits over the values of a config, wherever its files lie.

    Comments, order of keys and places on this machine change nothing; of an encoder given as a path only the
    folder's name counts (its weights are fingerprinted by the feature store), and what a run keeps of its picks counts
    for nothing, nor does a key at its neutral value.
    """
    return hashlib.sha256(canonical(counted(config)).encode()).hexdigest()[:16]


def counted(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config :func:`digest` counts, flat."""
    flat = {}
    for key, value in flatten(config).items():
        neutral = key in EVERY_KEY and value == EVERY_KEY[key].neutral
        if key not in PATH_KEYS and not key.startswith(KEPT_ONLY) and not neutral:
            flat[key] = value
    for key, value in flat.items():
        if key.startswith("encoders.") and key.endswith(".checkpoint") and is_path(value):
            flat[key] = Path(value).name
    return flat
