"""The shared keys of a run's config as pydantic models: type, range and choices of every value, when it is read.

Defaults and reasons stand in ``base.yaml``; the options of a single rule in the signature of its class.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_type_hints

from pydantic import Field

from fne.negatives.catalog import MEMORIES, ORACLES
from fne.protocols import RELEVANCE
from fne.utils.fields import Choice, Distinct, Increasing, Key, Neutral, Place, Text, When
from fne.utils.models import Section
from fne.utils.seeds import GREATEST

MANY = 10**9
"""More of anything than a machine holds."""
Seed = Annotated[int, Field(ge=0, le=GREATEST)]
Count = Annotated[int, Field(ge=1, le=MANY)]
Some = Annotated[int, Field(ge=0, le=MANY)]
Items = Annotated[int, Field(ge=1, le=10**7)]
SplitSize = Annotated[int, Field(ge=2, le=10**7)]
Width = Annotated[int, Field(ge=1, le=2**16)]
Epochs = Annotated[int, Field(ge=1, le=10**6)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Distance = Annotated[float, Field(ge=0, le=2)]
ABOVE_ZERO = range(1, 2**63)
DATASETS = {"scenes": "scenes"} | dict.fromkeys(("flickr8k", "flickr30k", "coco", "custom"), "corpus")
"""Every data set and its kind; ``custom`` is any corpus of the user's."""
EXACT_TRUTH = ("scenes",)
"""Kinds of data sets of which every relevant pair is known."""
HEAD_LEVELS = {"mlp": "pooled", "attention": "tokens", "none": "pooled", "linear": "pooled", "residual": "pooled"}
"""Heads and the level of the features that each one reads."""
KEEPING = ("none", "linear", "residual")
"""Heads that begin as the identity, in the space that the encoders share; ``none`` stays it."""
_MAKING = tuple(head for head in HEAD_LEVELS if head not in KEEPING)
_TRAINED = tuple(head for head in HEAD_LEVELS if head != "none")
PROJECTIONS: dict[str, tuple[str, ...]] = {"none": (), "linear": ("model.dim",), "mlp": ("model.dim", "model.hidden")}
"""Projections on top of a fine-tuned backbone and the keys that each one reads."""
REGIMES = ("head", "finetune")
Milestones = When({"schedule": ("milestones",)})
WarmedUp = When({"epochs": ABOVE_ZERO})


Trained = When({"trained": ("both", "image", "text", "none")})
AnEncoder, OfLora = When({"trained": ("both", "image", "text")}), When({"part": ("lora",)})
InHead, InFinetune = When({"regime": ("head",)}), When({"regime": ("finetune",)})


class Scenes(Section):
    """``data`` of the embedded world."""

    seed: Seed
    train: SplitSize
    val: SplitSize
    test: SplitSize
    pretrain: Annotated[Items, When({"encoders.draw": ABOVE_ZERO})]
    captions_per_image: Annotated[int, Field(ge=1, le=1000)]
    prevalence: Annotated[float, Field(ge=0, le=0.03)]
    image_size: Annotated[int, Field(ge=24, le=510, multiple_of=3)]


class Judgements(Section):
    crowdflower: Place | None
    expert: Place | None


class Counts(Section):
    train: Count | None
    val: Count | None
    test: Count | None


class Corpus(Section):
    """``data`` of a corpus of pictures and captions."""

    annotations: Place | None
    images: Place | None
    judgements: Judgements
    counts: Counts


class ImageEncoder(Section):
    checkpoint: Text | None
    revision: Text | None
    level: Annotated[Literal["pooled", "tokens"], InHead]
    pooling: Literal["mean", "cls", "pooler", "mean_all", "joint"] | None
    dtype: Annotated[Literal["float32", "float16"], InHead]


class TextEncoder(ImageEncoder):
    max_length: Annotated[int, Field(ge=2, le=8192)] | None


class Encoders(Section):
    image: ImageEncoder
    text: TextEncoder
    draw: Annotated[
        Seed, When({"encoders.image.checkpoint": ("scenes",)}), When({"encoders.text.checkpoint": ("scenes",)})
    ]


class Model(Section):
    head: Annotated[str, Choice(HEAD_LEVELS), InHead]
    hidden: Annotated[Width, When({"head": (*_MAKING, "residual")}), When({"finetune.projection": ("mlp",)})]
    dim: Annotated[Width, When({"head": _MAKING}), When({"finetune.projection": ("linear", "mlp")})]
    rescale_image: Annotated[Literal["none", "power"], When({"head": _MAKING})]
    rescale_text: Annotated[Literal["none", "power"], When({"head": _MAKING})]
    dropout_image: Annotated[ShareBelowOne, When({"head": _TRAINED})]
    dropout_text: Annotated[ShareBelowOne, When({"head": _TRAINED})]


class Train(Section):
    epochs: Epochs
    epoch_unit: Literal["images", "captions"]
    batch_size: Annotated[int, Field(ge=2, le=10**6)]
    optimizer: Literal["adamw", "adam"]
    learning_rate: Positive
    weight_decay: NotNegative
    schedule: Literal["cosine", "constant", "milestones"]
    milestones: Annotated[list[Epochs], Increasing, Milestones]
    decay: Annotated[PositiveShare, Milestones]
    lr_warmup_steps: Some
    gradient_clip: Positive | None
    validations: Epochs
    selection: Literal["best_val_rsum", "last"]
    products: Annotated[Literal["float32", "tf32"], Neutral("float32")]


class Warmup(Section):
    epochs: Some
    rule: Annotated[Literal["all", "hardest"], WarmedUp]
    mask: Annotated[Literal["same_image", "diagonal"], WarmedUp]
    margin: Annotated[Distance, WarmedUp]


class Negatives(Section):
    """What all strategies share; the options of one are in its class."""

    strategy: str
    oracle: Annotated[str, Choice(ORACLES)]
    top_k: Count
    score_threshold: Cosine
    kernel: Annotated[Literal["torch", "triton"], Neutral("torch")]


def _memories(option: str) -> When:
    return When({"kind": [name for name, kind in MEMORIES.items() if option in kind.options]})


class Memory(Section):
    kind: Annotated[str, Choice(MEMORIES)]
    size: Annotated[int, Field(ge=0, le=10**8), _memories("size")]
    momentum: Annotated[ShareBelowOne, _memories("momentum")]
    initial: Annotated[Literal["empty", "random"], _memories("initial")]
    fill: Annotated[Literal["after_warmup", "always"], _memories("fill")]
    refresh: Annotated[Count | None, _memories("refresh")]


class Loss(Section):
    """What all losses share; the options of one are in its class."""

    kind: str
    margin: Distance
    temperature: Positive
    positive_prior: ShareBelowOne


class Finetune(Section):
    image_size: Annotated[Annotated[int, Field(ge=8, le=4096)] | None, InFinetune]
    crop: Annotated[Literal["random_resized", "none"], InFinetune]
    crop_area: Annotated[PositiveShare, When({"crop": ("random_resized",)})]
    flip: Annotated[bool, InFinetune]
    randaugment_operations: Annotated[int, Field(ge=0, le=100), InFinetune]
    randaugment_magnitude: Annotated[int, Field(ge=0, le=10), When({"randaugment_operations": ABOVE_ZERO})]
    clean_captions: Annotated[bool, InFinetune]
    projection: Annotated[str, Choice(PROJECTIONS), Trained]
    projection_factor: Annotated[Positive, When({"projection": ("linear", "mlp")})]
    trained: Annotated[Literal["both", "image", "text", "none", "nothing"], InFinetune]
    part: Annotated[Literal["whole", "blocks", "projections", "lora"], AnEncoder, Neutral("whole")]
    blocks: Annotated[Count, When({"part": ("blocks",)}), Neutral(1)]
    lora_rank: Annotated[Annotated[int, Field(ge=1, le=4096)], OfLora, Neutral(8)]
    lora_alpha: Annotated[Positive, OfLora, Neutral(16.0)]
    lora_modules: Annotated[list[Text], Field(min_length=1), Distinct, OfLora, Neutral(["q_proj", "v_proj"])]
    joint_factor: Annotated[Positive, AnEncoder, Neutral(1.0)]
    temperature: Annotated[Literal["fixed", "learned"], Trained, Neutral("fixed")]
    temperature_factor: Annotated[Positive, When({"temperature": ("learned",)}), Neutral(1.0)]
    frozen_epochs: Annotated[Some, InFinetune]
    norms: Annotated[Literal["eval", "train"], InFinetune]
    dropout: Annotated[Literal["always", "until_first_validation", "never"], InFinetune]
    precision: Annotated[Literal["bfloat16", "float32"], InFinetune]
    attention: Annotated[Literal["sdpa", "eager"], InFinetune]
    gradient_checkpointing: Annotated[bool, InFinetune]
    chunk: Annotated[Count | None, InFinetune]


class Audit(Section):
    picks: Literal["sampled", "full", "none"]
    steps: Count
    limit_mb: Positive
    sits: Place | None
    sits_match: Annotated[float, Field(gt=0, le=5)]


class Relevance(Section):
    eccv: Place | None
    cxc: Place | None


class Evaluation(Section):
    tie_rule: Literal["expected", "pessimistic"]
    ks: Annotated[list[Count], Increasing]
    relevance: Relevance


class Run(Section):
    """The shared keys of every run, but for its data."""

    encoders: Encoders
    model: Model
    train: Train
    warmup: Warmup
    negatives: Negatives
    memory: Memory
    loss: Loss
    finetune: Finetune
    audit: Audit
    evaluation: Evaluation


def keys_of(model: type[Section], prefix: str = "") -> dict[str, Key]:
    """The leaves of a model, dotted."""
    keys: dict[str, Key] = {}
    for name, annotation in get_type_hints(model, include_extras=True).items():
        if isinstance(annotation, type) and issubclass(annotation, Section):
            keys |= keys_of(annotation, f"{prefix}{name}.")
        else:
            keys[f"{prefix}{name}"] = Key.of(annotation, prefix.rstrip("."))
    return keys


DATASET = Key(Annotated[str, Choice(DATASETS)])
DATA_KEYS = {kind: keys_of(model, "data.") for kind, model in (("scenes", Scenes), ("corpus", Corpus))}
"""Keys of ``data`` by kind of data set, but for ``data.dataset``."""
SHARED = keys_of(Run)
"""Keys of which ``base.yaml`` holds the defaults."""
RELEVANCE_KEYS = tuple(f"evaluation.relevance.{protocol}" for protocol in RELEVANCE)
"""Folders of relevance files: ``rank`` reads them, nothing of training or data preparation does."""
RATINGS_KEY = "audit.sits"
"""Folder of ratings: ``calibrate`` and ``audit`` read them, nothing else does."""
PATH_KEYS = tuple(
    name for keys in (SHARED, *DATA_KEYS.values()) for name, key in keys.items() if key.type == Place | None
)
"""Where things lie on this machine; no part of a digest (their content is fingerprinted by manifests and rankings)."""
KEPT_ONLY = "audit."
"""Keys that say what a run keeps and what its estimates are held against; its results stay: no part of a digest."""
VARIANT_SECTIONS = ("model", "train", "warmup", "negatives", "memory", "loss", "finetune")
"""Sections that a variant or a tuned file may set; the study owns the others, so that its numbers compare."""


def data_keys(dataset: str) -> dict[str, Key]:
    """The keys of ``data`` for one data set, ``data.dataset`` included."""
    return {"data.dataset": DATASET} | DATA_KEYS[DATASETS[dataset]]
