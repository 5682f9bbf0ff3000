"""The one table of config keys: type, range, choices of every value; defaults stand in ``base.yaml``."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.catalog import installed
from fne.errors import UserError, bad_input
from fne.losses.catalog import LOSSES
from fne.negatives.catalog import DENSITIES, MEMORY_OPTIONS, ORACLES, STRATEGIES

WORDS = {
    "int": "an integer",
    "float": "a number",
    "text": "text",
    "path": "a path",
    "ints": "a list of increasing integers",
    "bool": "true or false",
    "scalar": "a number, text, true or false",
}
REGISTRIES = {"negatives": STRATEGIES, "loss": LOSSES}
CHOOSERS = {"negatives": "negatives.strategy", "loss": "loss.kind"}
"""Sections of the config that choose a rule, and the key that names it."""
GROUPS = {"negatives": "fne.strategies", "loss": "fne.losses"}
"""Groups of entry points by which installed packages offer rules."""
OPTION = re.compile(r"(negatives|loss)\.options\.[A-Za-z_]\w*")
"""Keys of the options of a rule from outside; which of them there are, its class says (:mod:`.plugins`)."""
TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Field:
    """What a leaf value may be.

    Args:
        kind: ``int``, ``float``, ``bool``, ``text``, ``path``, ``choice``, ``ints`` (a list of increasing integers),
            ``rule`` (a registered name, an entry point or ``module:Class``) or ``scalar`` (int, float, bool or text).
        low: Least value (``int``, ``float``, each of ``ints``).
        high: Greatest value.
        open_low: ``low`` itself is excluded.
        open_high: ``high`` itself is excluded.
        choices: The words a ``choice`` may be, or the registered names of a ``rule``.
        group: The group of entry points of a ``rule``.
        null: ``null`` is allowed.
        multiple: An ``int`` must be a multiple of it.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    null: bool = False
    multiple: int = 1
    group: str = ""

    def allowed(self) -> str | tuple[str, ...]:
        """What the value may be, for an error message."""
        if self.kind == "choice":
            return self.choices + (("null",) if self.null else ())
        if self.kind == "rule":
            return (*self.choices, *installed(self.group), "module:Class")
        words = WORDS[self.kind]
        if self.low > -math.inf:
            words += f" {'>' if self.open_low else '>='} {self.low:g}"
        if self.high < math.inf:
            words += f" and {'<' if self.open_high else '<='} {self.high:g}"
        words += f", a multiple of {self.multiple}" if self.multiple > 1 else ""
        return words + (", or null" if self.null else "")

    def inside(self, value: float) -> bool:
        """Is a number finite and within the range?"""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return (
            abs(value) <= sys.float_info.max
            and above
            and below
            and (self.multiple == 1 or value % self.multiple == 0)
        )


def _choice(*choices: str) -> Field:
    return Field("choice", choices=choices)


COUNT = Field("int", low=1)
SHARE = Field("float", low=0, high=1)
OPEN_SHARE = Field("float", low=0, high=1, open_low=True, open_high=True)
PATH = Field("path", null=True)

DATASETS = {"scenes": "scenes"} | dict.fromkeys(("flickr8k", "flickr30k", "coco", "custom"), "corpus")
"""Every data set and its kind; ``custom`` is any corpus of the user's."""
EXACT_TRUTH = ("scenes",)
"""Kinds of data sets of which every relevant pair is known."""

DATA_FIELDS: dict[str, dict[str, Field]] = {
    "scenes": {
        "seed": Field("int", low=0),
        "train": COUNT,
        "val": COUNT,
        "test": COUNT,
        "pretrain": COUNT,
        "captions_per_image": COUNT,
        "prevalence": Field("float", low=0, high=0.03),
        "image_size": Field("int", low=24, high=510, multiple=3),
    },
    "corpus": {
        "annotations": PATH,
        "images": PATH,
        "judgements.crowdflower": PATH,
        "judgements.expert": PATH,
        "counts.train": Field("int", low=1, null=True),
        "counts.val": Field("int", low=1, null=True),
        "counts.test": Field("int", low=1, null=True),
    },
}

RELEVANCE_KEYS = ("evaluation.relevance.eccv", "evaluation.relevance.cxc")
"""Folders of relevance files: ``rank`` reads them, nothing of training or data preparation does."""

PATH_KEYS = (
    "data.annotations",
    "data.images",
    "data.judgements.crowdflower",
    "data.judgements.expert",
    *RELEVANCE_KEYS,
)
"""Where things lie on this machine; no part of a digest (their content is fingerprinted by manifests and rankings)."""

HEAD_LEVELS = {"mlp": "pooled", "attention": "tokens"}
"""Heads and the level of the features that each one reads."""

PROJECTIONS = {"none": (), "linear": ("model.dim",), "mlp": ("model.dim", "model.hidden")}
"""Projections on top of a fine-tuned backbone and the keys that each one reads."""

_ENCODER = {
    "checkpoint": Field("text", null=True),
    "revision": Field("text", null=True),
    "level": _choice("pooled", "tokens"),
    "pooling": _choice("mean", "cls", "pooler", "mean_all"),
    "dtype": _choice("float32", "float16"),
}

RUN_FIELDS: dict[str, Field] = {
    **{f"encoders.image.{key}": field for key, field in _ENCODER.items()},
    **{f"encoders.text.{key}": field for key, field in _ENCODER.items()},
    "encoders.text.max_length": Field("int", low=2, high=8192),
    "model.head": _choice(*HEAD_LEVELS),
    "model.hidden": COUNT,
    "model.dim": COUNT,
    "model.rescale_image": _choice("none", "power"),
    "model.rescale_text": _choice("none", "power"),
    "model.dropout_image": Field("float", low=0, high=1, open_high=True),
    "model.dropout_text": Field("float", low=0, high=1, open_high=True),
    "train.epochs": COUNT,
    "train.epoch_unit": _choice("images", "captions"),
    "train.batch_size": Field("int", low=2),
    "train.optimizer": _choice("adamw", "adam"),
    "train.learning_rate": Field("float", low=0, open_low=True),
    "train.weight_decay": Field("float", low=0),
    "train.schedule": _choice("cosine", "constant", "milestones"),
    "train.milestones": Field("ints", low=1),
    "train.decay": Field("float", low=0, high=1, open_low=True),
    "train.lr_warmup_steps": Field("int", low=0),
    "train.gradient_clip": Field("float", low=0, open_low=True, null=True),
    "train.validations": COUNT,
    "train.selection": _choice("best_val_rsum", "last"),
    "warmup.epochs": Field("int", low=0),
    "warmup.rule": _choice("all", "hardest"),
    "warmup.mask": _choice("same_image", "diagonal"),
    "warmup.margin": Field("float", low=0, high=2),
    "negatives.strategy": Field("rule", choices=tuple(STRATEGIES), group=GROUPS["negatives"]),
    "negatives.oracle": _choice(*ORACLES),
    "negatives.tau": Field("float", low=0),
    "negatives.prior": OPEN_SHARE,
    "negatives.prior_rule": _choice("fixed", "em"),
    "negatives.prior_rate": Field("float", low=0, high=1, open_low=True),
    "negatives.prior_floor": OPEN_SHARE,
    "negatives.prior_ceiling": OPEN_SHARE,
    "negatives.density": _choice(*DENSITIES),
    "negatives.population": _choice("hardest", "batch", "queue"),
    "negatives.posterior_threshold": SHARE,
    "negatives.min_positives": Field("int", low=2),
    "negatives.elimination": _choice("released", "power", "threshold", "none"),
    "negatives.elimination_power": Field("float", low=0, open_low=True),
    "negatives.elimination_threshold": SHARE,
    "negatives.cut_down": _choice("global", "anchor", "none"),
    "negatives.statistics_mask": _choice("diagonal", "same_image"),
    "negatives.statistics_reset": _choice("epoch", "never", "ema"),
    "negatives.statistics_decay": OPEN_SHARE,
    "negatives.recalibration": _choice("none", "isotonic", "platt"),
    "negatives.recalibration_images": Field("int", low=2),
    "negatives.min_distance": Field("float", low=1e-3, high=2),
    "negatives.max_distance": Field("float", low=0, high=2, open_low=True),
    "negatives.sharpness": Field("float", low=0),
    "negatives.offset": Field("float", low=-2, high=2),
    "negatives.relative_margin": SHARE,
    "negatives.absolute_margin": Field("float", low=0, high=2),
    "negatives.guide_margin": Field("float", low=0, high=2),
    "negatives.top_k": COUNT,
    "negatives.score_threshold": Field("float", low=-1, high=1),
    "negatives.filtered_share": SHARE,
    "negatives.threshold_rate": Field("float", low=0, high=2, open_low=True),
    "negatives.threshold_beta1": Field("float", low=0, high=1, open_high=True),
    "negatives.threshold_beta2": Field("float", low=0, high=1, open_high=True),
    "memory.kind": _choice(*MEMORY_OPTIONS),
    "memory.size": Field("int", low=0),
    "memory.momentum": Field("float", low=0, high=1, open_high=True),
    "memory.initial": _choice("empty", "random"),
    "memory.fill": _choice("after_warmup", "always"),
    "memory.refresh": Field("int", low=1, null=True),
    "loss.kind": Field("rule", choices=tuple(LOSSES), group=GROUPS["loss"]),
    "loss.margin": Field("float", low=0, high=2),
    "loss.temperature": Field("float", low=0, open_low=True),
    "loss.multi_positive": Field("bool"),
    "loss.distillation": SHARE,
    "loss.positive_prior": Field("float", low=0, high=1, open_high=True),
    "loss.hardness": Field("float", low=0),
    "loss.location": Field("float", low=0.5, high=1, open_high=True),
    "loss.concentration": Field("float", low=0, high=1, open_low=True),
    "loss.shift": Field("float", low=-1, high=1),
    "loss.pseudo_weight": Field("float", low=0),
    "loss.hard_similarity": Field("float", low=-1, high=1),
    "loss.hard_weight": Field("float", low=0, open_low=True),
    "loss.epsilon": Field("float", low=0, high=2),
    "finetune.image_size": Field("int", low=8),
    "finetune.crop": _choice("random_resized", "none"),
    "finetune.crop_area": Field("float", low=0, high=1, open_low=True),
    "finetune.flip": Field("bool"),
    "finetune.randaugment_operations": Field("int", low=0),
    "finetune.randaugment_magnitude": Field("int", low=0, high=10),
    "finetune.clean_captions": Field("bool"),
    "finetune.projection": _choice(*PROJECTIONS),
    "finetune.projection_factor": Field("float", low=0, open_low=True),
    "finetune.trained": _choice("both", "image", "text", "none"),
    "finetune.frozen_epochs": Field("int", low=0),
    "finetune.norms": _choice("eval", "train"),
    "finetune.dropout": _choice("always", "until_first_validation", "never"),
    "finetune.precision": _choice("bfloat16", "float32"),
    "finetune.attention": _choice("sdpa", "eager"),
    "finetune.gradient_checkpointing": Field("bool"),
    "finetune.chunk": Field("int", low=1, null=True),
    "audit.picks": _choice("sampled", "full", "none"),
    "audit.steps": COUNT,
    "audit.limit_mb": Field("float", low=0, open_low=True),
    "evaluation.tie_rule": _choice("expected", "pessimistic"),
    "evaluation.ks": Field("ints", low=1),
    "evaluation.relevance.eccv": PATH,
    "evaluation.relevance.cxc": PATH,
}

KEPT_ONLY = "audit."
"""Keys that say what a run keeps and change none of its results: no part of a digest."""

REGIMES = ("head", "finetune")
VARIANT_SECTIONS = ("model", "train", "warmup", "negatives", "memory", "loss", "finetune")
"""Sections that a variant or a tuned file may set; the study owns the others, so that its numbers compare."""


def data_fields(dataset: str) -> dict[str, Field]:
    """The fields of ``data`` for one data set, dotted from ``data.``; ``data.dataset`` included."""
    return {"data.dataset": _choice(*DATASETS)} | {
        f"data.{key}": field for key, field in DATA_FIELDS[DATASETS[dataset]].items()
    }


def fields_for(dataset: str) -> dict[str, Field]:
    """Every leaf key of a run config for one data set."""
    return data_fields(dataset) | RUN_FIELDS


def flatten(nested: Mapping[str, Any], file: str | Path | None = None, prefix: str = "") -> dict[str, Any]:
    """Turn nested sections into dotted leaf keys; dotted keys in the input are welcome too.

    Raises:
        UserError: A key is reached twice, once nested and once dotted.
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        dotted = f"{prefix}{key}"
        items = flatten(value, file, f"{dotted}.") if isinstance(value, Mapping) else {dotted: value}
        for leaf, item in items.items():
            if leaf in flat:
                raise bad_input("is given twice, nested and dotted", file=file, key=leaf)
            flat[leaf] = item
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted leaf keys into nested sections."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return nested


def check_key(
    key: str, fields: Mapping[str, Field], file: str | Path | None, shown: str | None = None
) -> Field:
    """Find the field of a key.

    Raises:
        UserError: There is no such key; names the nearest one, or says that it is a section.
    """
    if key in fields:
        return fields[key]
    if OPTION.fullmatch(key) and CHOOSERS[key.partition(".")[0]] in fields:
        return Field("scalar", null=True)
    inside = [name.removeprefix(f"{key}.") for name in fields if name.startswith(f"{key}.")]
    if inside:
        hint = f"it holds {', '.join(inside)}"
        raise bad_input("is a section, not a value", file=file, key=shown or key, hint=hint)
    parent = key.rpartition(".")[0]
    while parent and parent not in fields and not any(name.startswith(f"{parent}.") for name in fields):
        parent = parent.rpartition(".")[0]
    if parent in fields:
        raise bad_input("is a value, not a section", file=file, key=parent, allowed=fields[parent].allowed())
    siblings = [name for name in fields if not parent or name.startswith(f"{parent}.")]
    near = _nearest(key, siblings) or _nearest(key, list(fields))
    names = list(dict.fromkeys(name[len(parent) + 1 if parent else 0 :].split(".")[0] for name in siblings))
    error = f"unknown key; allowed: {', '.join(names)}" + (f"; did you mean {near!r}?" if near else "")
    raise bad_input(error, file=file, key=shown or key)


def _nearest(key: str, names: list[str]) -> str | None:
    """The name closest to ``key``, by its last part first."""
    leaf = key.rpartition(".")[2]
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.6)
    if near:
        return by_leaf[near[0]]
    whole = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return whole[0] if whole else None


def check_value(value: Any, field: Field, file: str | Path | None, key: str) -> Any:
    """Check a value and return it in its one canonical type (an integer given for a number becomes a float).

    Raises:
        UserError: Wrong type, out of range, or not among the choices.
    """
    if value is None:
        if field.null:
            return None
        raise bad_input("must not be null", file=file, key=key, allowed=field.allowed())
    if isinstance(value, Mapping):
        raise bad_input("is a value, not a section", file=file, key=key, allowed=field.allowed())

    def wrong(problem: str, hint: str | None = None) -> UserError:
        return bad_input(problem, file=file, key=key, value=value, allowed=field.allowed(), hint=hint)

    if field.kind == "scalar":
        if not isinstance(value, int | float | str):
            raise wrong("must be a scalar")
        kind = {bool: "bool", int: "int", float: "float"}.get(type(value), "text")
        return check_value(value, Field(kind), file, key)
    if field.kind in ("int", "float"):
        return _number(value, field, wrong)
    if field.kind == "ints":
        if not isinstance(value, list) or not value or any(type(item) is not int for item in value):
            raise wrong("must be a list of integers")
        if not all(field.inside(item) for item in value) or value != sorted(set(value)):
            raise wrong("out of range")
        return list(value)
    if field.kind == "bool":
        if not isinstance(value, bool):
            raise wrong("must be true or false")
        return value
    if isinstance(value, bool):
        raise wrong("must be text", "YAML reads an unquoted on/off/yes/no as a truth value: quote it")
    if not isinstance(value, str):
        raise wrong("must be text", "quote it" if isinstance(value, int | float) else None)
    if field.kind == "choice":
        if value not in field.choices:
            raise wrong("not one of the choices")
        return value
    if field.kind == "rule":
        if value not in field.choices and not TARGET.fullmatch(value) and value not in installed(field.group):
            raise wrong("not a registered name, an entry point or module:Class")
        return value
    if not value.strip() or "\0" in value:
        raise wrong("must not be empty")
    return str(Path(value).expanduser()) if field.kind == "path" else value


def _number(value: Any, field: Field, wrong: Any) -> int | float:
    noun = "an integer" if field.kind == "int" else "a number"
    if isinstance(value, str):
        hint = None
        try:
            number = float(value)
        except ValueError:
            pass
        else:
            hint = f"YAML reads this as text: write {yaml_number(number)}" if math.isfinite(number) else None
        raise wrong(f"must be {noun}, not text", hint)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"must be {noun}")
    if field.kind == "int" and isinstance(value, float):
        raise wrong("must be an integer", f"write {int(value)}" if value.is_integer() else None)
    if not field.inside(value):
        raise wrong("out of range")
    return value if field.kind == "int" else float(value)


def yaml_number(number: float) -> str:
    """A float as YAML 1.1 reads it: with a point before any exponent."""
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
