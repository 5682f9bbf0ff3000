"""The one table of config keys: type, range, choices of every value; defaults stand in ``base.yaml``."""

from __future__ import annotations

from fne.losses.catalog import LOSSES
from fne.negatives.catalog import DENSITIES, MEMORY_OPTIONS, ORACLES, STRATEGIES
from fne.protocols import RELEVANCE
from fne.study.fields import Field
from fne.study.seeds import GREATEST

REGISTRIES = {"negatives": STRATEGIES, "loss": LOSSES}
GROUPS = {"negatives": "fne.strategies", "loss": "fne.losses"}
"""Groups of entry points by which installed packages offer rules."""


def _choice(*choices: str) -> Field:
    return Field("choice", choices=choices)


MANY = 10**9
"""More of anything than a machine holds."""
COUNT = Field("int", low=1, high=MANY)
SOME = Field("int", low=0, high=MANY)
ITEMS = Field("int", low=1, high=10**7)
WIDTH = Field("int", low=1, high=2**16)
EPOCHS = Field("int", low=1, high=10**6)
SHARE = Field("float", low=0, high=1)
OPEN_SHARE = Field("float", low=0, high=1, open_low=True, open_high=True)
PATH = Field("path", null=True)

DATASETS = {"scenes": "scenes"} | dict.fromkeys(("flickr8k", "flickr30k", "coco", "custom"), "corpus")
"""Every data set and its kind; ``custom`` is any corpus of the user's."""
EXACT_TRUTH = ("scenes",)
"""Kinds of data sets of which every relevant pair is known."""

DATA_FIELDS: dict[str, dict[str, Field]] = {
    "scenes": {
        "seed": Field("int", low=0, high=GREATEST),
        "train": ITEMS,
        "val": ITEMS,
        "test": ITEMS,
        "pretrain": ITEMS,
        "captions_per_image": Field("int", low=1, high=1000),
        "prevalence": Field("float", low=0, high=0.03),
        "image_size": Field("int", low=24, high=510, multiple=3),
    },
    "corpus": {
        "annotations": PATH,
        "images": PATH,
        "judgements.crowdflower": PATH,
        "judgements.expert": PATH,
        "counts.train": Field("int", low=1, high=MANY, null=True),
        "counts.val": Field("int", low=1, high=MANY, null=True),
        "counts.test": Field("int", low=1, high=MANY, null=True),
    },
}

RELEVANCE_KEYS = tuple(f"evaluation.relevance.{protocol}" for protocol in RELEVANCE)
"""Folders of relevance files: ``rank`` reads them, nothing of training or data preparation does."""

RATINGS_KEY = "audit.sits"
"""Folder of ratings: ``calibrate`` and ``audit`` read them, nothing else does."""

PATH_KEYS = (
    "data.annotations",
    "data.images",
    "data.judgements.crowdflower",
    "data.judgements.expert",
    *RELEVANCE_KEYS,
    RATINGS_KEY,
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
    "encoders.draw": Field("int", low=0, high=GREATEST),
    "model.head": _choice(*HEAD_LEVELS),
    "model.hidden": WIDTH,
    "model.dim": WIDTH,
    "model.rescale_image": _choice("none", "power"),
    "model.rescale_text": _choice("none", "power"),
    "model.dropout_image": Field("float", low=0, high=1, open_high=True),
    "model.dropout_text": Field("float", low=0, high=1, open_high=True),
    "train.epochs": EPOCHS,
    "train.epoch_unit": _choice("images", "captions"),
    "train.batch_size": Field("int", low=2, high=10**6),
    "train.optimizer": _choice("adamw", "adam"),
    "train.learning_rate": Field("float", low=0, open_low=True),
    "train.weight_decay": Field("float", low=0),
    "train.schedule": _choice("cosine", "constant", "milestones"),
    "train.milestones": Field("ints", low=1, high=10**6),
    "train.decay": Field("float", low=0, high=1, open_low=True),
    "train.lr_warmup_steps": SOME,
    "train.gradient_clip": Field("float", low=0, open_low=True, null=True),
    "train.validations": EPOCHS,
    "train.selection": _choice("best_val_rsum", "last"),
    "warmup.epochs": SOME,
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
    "negatives.min_positives": Field("int", low=2, high=MANY),
    "negatives.elimination": _choice("released", "power", "threshold", "none"),
    "negatives.elimination_power": Field("float", low=0, open_low=True),
    "negatives.elimination_threshold": SHARE,
    "negatives.cut_down": _choice("global", "anchor", "none"),
    "negatives.statistics_mask": _choice("diagonal", "same_image"),
    "negatives.statistics_reset": _choice("epoch", "never", "ema"),
    "negatives.statistics_decay": OPEN_SHARE,
    "negatives.recalibration": _choice("none", "isotonic", "platt"),
    "negatives.recalibration_images": Field("int", low=2, high=MANY),
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
    "memory.size": Field("int", low=0, high=10**8),
    "memory.momentum": Field("float", low=0, high=1, open_high=True),
    "memory.initial": _choice("empty", "random"),
    "memory.fill": _choice("after_warmup", "always"),
    "memory.refresh": Field("int", low=1, high=MANY, null=True),
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
    "finetune.image_size": Field("int", low=8, high=4096),
    "finetune.crop": _choice("random_resized", "none"),
    "finetune.crop_area": Field("float", low=0, high=1, open_low=True),
    "finetune.flip": Field("bool"),
    "finetune.randaugment_operations": Field("int", low=0, high=100),
    "finetune.randaugment_magnitude": Field("int", low=0, high=10),
    "finetune.clean_captions": Field("bool"),
    "finetune.projection": _choice(*PROJECTIONS),
    "finetune.projection_factor": Field("float", low=0, open_low=True),
    "finetune.trained": _choice("both", "image", "text", "none"),
    "finetune.frozen_epochs": SOME,
    "finetune.norms": _choice("eval", "train"),
    "finetune.dropout": _choice("always", "until_first_validation", "never"),
    "finetune.precision": _choice("bfloat16", "float32"),
    "finetune.attention": _choice("sdpa", "eager"),
    "finetune.gradient_checkpointing": Field("bool"),
    "finetune.chunk": Field("int", low=1, high=MANY, null=True),
    "audit.picks": _choice("sampled", "full", "none"),
    "audit.steps": COUNT,
    "audit.limit_mb": Field("float", low=0, open_low=True),
    "audit.sits": PATH,
    "audit.sits_match": Field("float", low=0, high=5, open_low=True),
    "evaluation.tie_rule": _choice("expected", "pessimistic"),
    "evaluation.ks": Field("ints", low=1, high=MANY),
    **dict.fromkeys(RELEVANCE_KEYS, PATH),
}

EVERY_FIELD = RUN_FIELDS | {f"data.{key}": field for fields in DATA_FIELDS.values() for key, field in fields.items()}
"""Of every kind of data set."""

KEPT_ONLY = "audit."
"""Keys that say what a run keeps and what its estimates are held against; its results stay: no part of a digest."""

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
