"""Which code makes a result, and its digest (torch-free).

What comes before training (data, features) is known by its content, so the code that reads it does not count for a run;
nor do catalogs and the configuration.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.encoders.families import families
from fne.negatives.catalog import DENSITIES, MEMORIES
from fne.study.model import KEEPING
from fne.study.plugins import Plugin, find
from fne.utils.definitions import PACKAGES, Definitions, local_modules
from fne.utils.fields import CHOOSERS
from fne.utils.files import sha256_file, sha256_text

TRAINING = (
    "fne.training.engine:Engine",
    "fne.training.distributions:measure",
    "fne.training.data:Split",
    "fne.training.data:Standardiser",
    "fne.training.learner:HeadLearner",
)
"""Where the code of every training run begins."""
WARMUP = "fne.training.step:warmup_rule"
"""The rule of the warm-up, which only variants with one use."""
KEPT_SPACE = tuple(f"fne.training.joint_heads:{name}" for name in ("LinearHead", "ResidualHead", "with_width"))
"""Beside it where heads keep the space of their features."""
FINETUNE = ("fne.training.finetune.learner:FinetuneLearner", "fne.training.finetune.dataset:PixelCorpus")
"""What begins beside it where whole encoders are trained; any family of encoders may be one of them."""
PREPARE = {"scenes": ("fne.scenes.prepare:run",), "corpus": ("fne.data.readers:run",)}
PRETRAIN = ("fne.steps.pretrain:run",)
EXTRACT = ("fne.steps.extract:run", "fne.encoders.families.backbone:Backbone")
"""What all encoders share; the family of one begins beside it."""

COUNTED = ("fne.data", "fne.encoders", "fne.evaluation", "fne.losses", "fne.negatives", "fne.scenes", "fne.steps",
           "fne.training", "fne.utils.seeding")  # fmt: skip
"""Modules whose definitions count."""
CATALOGS = ("fne.negatives.catalog", "fne.negatives.registry", "fne.negatives.signature", "fne.encoders.checkpoints",
            "fne.encoders.declared", "fne.encoders.shipped")  # fmt: skip
"""Modules of those that do not."""
CONTENT = ("fne.data", "fne.encoders.store", "fne.scenes", "fne.steps")
"""Not followed from training: what they read or make is known by its content."""
DECODER = "fne.data.decoding"
"""But this: the same picture under other rules is other pixels."""


RESULTS = ("fne.analysis", "fne.data.coco_relevance", "fne.data.cxc_sits", "fne.data.ranked_captions",
           "fne.evaluation", "fne.negatives.maps", "fne.protocols", "fne.report", "fne.results", "fne.steps",
           "fne.training.embed", "fne.training.finetune.dataset", "fne.training.pairs", "fne.training.pick_log",
           "fne.training.picks", "fne.training.weights", "fne.utils.min_seeds", "fne.utils.seeding")  # fmt: skip
"""Where cheap results are computed, from ranks to report. Other modules only read, check and write files, or belong to
training."""
COLUMNS = Path(__file__).with_name("columns.yaml")
"""Counts with :mod:`fne.results.schema`, which reads it."""


@functools.cache
def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in packages)


@functools.cache
def _counts(module: str) -> bool:
    return module == DECODER or (_within(module, COUNTED) and not _within(module, CATALOGS))


class Code(Definitions):
    """Digests of code, each the first 12 hex digits of the SHA-256 of all that is reachable from some definitions.

    Args:
        root: The project's folder: modules of plug-ins may lie in it, and what was read is remembered there.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, _counts)
        self._of_variant = functools.cache(self._trained_by)

    def training(self, config: Mapping[str, Any]) -> str:
        """Of what trains one variant, the regime's code and its own; worked out once for all that use the same.

        Args:
            config: The resolved config of the variant.
        """
        rules = tuple((section, config[section][key.partition(".")[2]]) for section, key in CHOOSERS.items())
        whole, warms = config["regime"] == "finetune", bool(config["warmup"]["epochs"])
        keeps = not whole and config["model"]["head"] in KEEPING  # whole encoders may have no section `model`
        density = config["negatives"].get("density")
        return self._of_variant(whole, config["memory"]["kind"], keeps, warms, density, rules)

    def _trained_by(
        self,
        whole: bool,
        memory: str,
        keeps: bool,
        warms: bool,
        density: str | None,
        rules: tuple[tuple[str, str], ...],
    ) -> str:
        roots = [*TRAINING, MEMORIES[memory].target]
        roots += [*FINETUNE, *(family.target() for family in families())] if whole else []
        roots += [*KEPT_SPACE] if keeps else []
        roots += [WARMUP] if warms else []
        roots += [DENSITIES[density]] if density else []
        own: set[Path] = set()
        for section, name in rules:
            entry = find(section, name)
            if isinstance(entry, Plugin):
                own |= local_modules(entry.file, entry.target.partition(":")[0], self.root)
            else:
                roots.append(entry.target)
        content = (*CONTENT, *(() if whole else ("fne.training.finetune", "fne.encoders")))

        def follow(target: str) -> bool:
            module = target.partition(":")[0]
            return (target != WARMUP or WARMUP in roots) and (module == DECODER or not _within(module, content))

        return self.of(roots, follow, own)


class ResultCode(Definitions):
    """Digests of the code that makes cheap results.

    Args:
        root: The project's folder, where what was read is remembered.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, functools.cache(lambda module: _within(module, RESULTS)))

    def of_modules(self, *modules: str) -> str:
        """Of whole modules, and of all that they use; of a package, every module and every other file in it."""
        roots, others = self.named(*modules)
        others += [COLUMNS] if any(file.stem == "schema" for file, _, _ in self.reached(roots)) else []
        return sha256_text(" ".join([self.of(roots), *map(sha256_file, others)]))[:12]

    def named(self, *modules: str) -> tuple[list[str], list[Path]]:
        """The modules of some packages, and the other files in them."""
        roots, others = [], []
        for module in modules:
            place = PACKAGES.joinpath(*module.split("."))
            for file in sorted(place.rglob("*")) if place.is_dir() else [place.with_name(f"{place.name}.py")]:
                if file.suffix == ".py":
                    roots.append(".".join(file.relative_to(PACKAGES).with_suffix("").parts).removesuffix(".__init__"))
                elif file.is_file() and file.suffix != ".pyc":
                    others.append(file)
        return roots, others
