"""The methods paragraph of a paper, generated from the config and the record of its runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fne.data.sources import SPLITS
from fne.protocols import METRICS, OWN
from fne.report.figures.curves import RULES
from fne.report.paper.references import cite, references, sources_of, with_citations, without_reference
from fne.report.tables.tuning import tuning_table
from fne.report.text.released import released
from fne.report.text.summary import TRUTH_WORDS, seconds_per_run, truth_is_known, truth_kind
from fne.report.text.wording import (
    UNITS,
    count,
    duration,
    elsewhere_phrase,
    interval_phrase,
    listing,
    protocol_phrase,
    protocol_words,
    seed_list,
    seeds_phrase,
    tested,
)
from fne.results.made_from import fingerprints, versions
from fne.results.study import StudyResults
from fne.utils.names import show
from fne.utils.text import clean

Paragraph = tuple[str, str]
"""A heading, and plain text with citations such as ``[@li2023fne]``."""


def paragraphs(study: StudyResults) -> list[Paragraph]:
    """What was done, from the data to the statistics."""
    return [
        ("Question", _question(study)),
        ("Data", _data(study)),
        ("Encoders", _encoders(study)),
        ("Training", _training(study)),
        ("Compared variants", _variants(study)),
        ("Tuning", _tuning(study)),
        ("Evaluation", _evaluation(study)),
        ("Statistics", _statistics(study)),
        ("Software and hardware", _software(study)),
    ]


def to_latex(result: Iterable[Paragraph]) -> str:
    """As paragraphs of LaTeX."""
    parts = (rf"\paragraph{{{heading}.}} {with_citations(text)}" for heading, text in result)
    return "% Written by `fne paper` from the study's config and results.\n" + "\n\n".join(parts) + "\n"


def to_markdown(result: Iterable[Paragraph]) -> str:
    """As Markdown; citations as Pandoc reads them, with ``references.bib``."""
    parts = (f"**{heading}.** {escaped(text)}" for heading, text in result)
    return "# Methods\n\n" + "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Plain text for Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_|<>#~$" else letter for letter in text)


def sizes(study: StudyResults) -> dict[str, dict[str, int]]:
    """Images and captions of every split, as far as known here."""
    if (manifest := study.manifest) is not None:
        return manifest.splits
    facts = study.protocols.get(OWN)
    return {} if facts is None else {"test": {"images": facts["queries"]["i2t"], "captions": facts["queries"]["t2i"]}}


def _values(study: StudyResults, key: str) -> list[Any]:
    """The values that a key has, each once."""
    configs = [study.definition.configs[variant] for variant in study.definition.trained]
    return [*dict.fromkeys(config[key] for config in configs if config.get(key) is not None)]


def _value(study: StudyResults, key: str) -> str:
    """A config value in words: one of all variants, or the ends or names of several."""
    values = _values(study, key)
    if len(values) > 1 and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return f"{show(min(values))} to {show(max(values))}"
    return listing(clean(show(value)) for value in values) or "none"


def _question(study: StudyResults) -> str:
    if study.method not in study.every_variant:
        return clean(study.question)
    rules = sources_of([study.definition.configs[study.method]])
    works = [work for key, _, by in rules if key == "negatives.strategy" for work in by]
    return f"{clean(study.question)} The method under study is {clean(study[study.method].title)}{cite(works)}."


def _data(study: StudyResults) -> str:
    dataset, own = study.dataset, references()["values"]["data.dataset"].get(study.dataset, ())
    what = f"We use the data set {clean(dataset)}{cite(own)}"
    if dataset == "scenes":
        data = study.definition.data
        what = (
            "We use scenes, a synthetic world of images and captions in which every relevant pair is known "
            f"(seed {show(data.get('seed', 0))}, prevalence of extra positives {show(data.get('prevalence'))})"
        )
    parts = [f"{split} {count(item['images'])} images and {count(item['captions'])} captions"
             for split in SPLITS if (item := sizes(study).get(split))]  # fmt: skip
    known = [f"on the {split} split {TRUTH_WORDS[kind]}" for split in SPLITS if (kind := truth_kind(study, split))]
    truth = f" Of relevant pairs, {'; '.join(known)}." if known else ""
    return f"{what}{f': {listing(parts)}' if parts else ''}.{truth}"


def _encoders(study: StudyResults) -> str:
    images, captions = (_value(study, f"encoders.{side}.checkpoint") for side in ("image", "text"))
    used = f"{images} for images and {captions} for captions"
    if images == "scenes":
        used = f"the tiny vision and text encoders that ship with the package (draw {_value(study, 'encoders.draw')})"
    if study.definition.regime == "finetune":
        trained, part = _value(study, "finetune.trained"), _value(study, "finetune.part")
        return f"Encoders are {used}; trained end to end: {trained}{'' if part == 'whole' else f' ({part})'}."
    if not _values(study, "model.dim"):
        return (
            f"Encoders are {used}, kept frozen; on their embeddings we train a head ({_value(study, 'model.head')}) "
            "for each modality that begins as the identity, compared by cosine."
        )
    head, dim = _value(study, "model.head"), _value(study, "model.dim")
    hidden = f", {_value(study, 'model.hidden')} hidden units" if "mlp" in head else ""
    return (
        f"Encoders are {used}, kept frozen; on their features we train a head ({head}{hidden}) for each modality into "
        f"{dim} dimensions, compared by cosine."
    )


STEPS = {
    "epochs": "train.epochs", "batch size": "train.batch_size", "optimizer": "train.optimizer",
    "learning rate": "train.learning_rate", "weight decay": "train.weight_decay", "schedule": "train.schedule",
    "steps of learning-rate warm-up": "train.lr_warmup_steps", "gradient clipping": "train.gradient_clip",
    "epochs of warm-up before a variant's own rule": "warmup.epochs",
}  # fmt: skip


def _training(study: StudyResults) -> str:
    summary = "; ".join(f"{words} {_value(study, key)}" for words, key in STEPS.items())
    selected = RULES.get(_value(study, "train.selection"), "the declared epoch")
    return (
        f"All variants share one training procedure: {summary}. The checkpoint is that of {selected}; the test split "
        "plays no part in training, tuning or selection. "
        f"We train {seeds_phrase(study)} (seeds {seed_list(study.seeds)})."
    )


def _variants(study: StudyResults) -> str:
    summary = [clean(variant.title) for variant in study.variants]
    roles = [(study.baseline, "baseline"), (study.method, "method"), (study.control, "control")]
    named = listing(f"{clean(study[name].title)} (the {role})" for name, role in roles if name in study.every_variant)
    words = f"We compare {len(summary)} variants: {'; '.join(summary)}. Declared before any run: {named}."
    configs = study.definition.configs.values()
    if rules := sources_of(configs):
        made = (f"{key} {clean(value)}{cite(keys)}" for key, value, keys in rules)
        words += f" Their rules, by key of the configuration: {'; '.join(made)}."
    if outside := without_reference(configs):
        words += f" No reference is recorded of {listing(map(clean, outside))}."
    return f"{words} {released(study.definition)}".strip()


def _tuning(study: StudyResults) -> str:
    table = tuning_table(study)
    if not table.rows:
        return table.caption
    return f"{table.caption.rstrip('.')}{cite(references()['statistics']['search'])}."


def _evaluation(study: StudyResults) -> str:
    by = references()["evaluation"]
    words = f"The primary metric, declared before any run, is {protocol_phrase(study)}. {UNITS}"
    others = [name for name in study.protocols if name != study.protocol]
    shown = [f"{protocol_words(study, name)}{cite(by.get(name, ()))}" for name in others]
    words += f" Further protocols: {'; '.join(shown)}." if shown else ""
    metrics = dict.fromkeys(study.test["metric"])
    ours = [f"{METRICS[name].label}{cite(by[name])}" for name in metrics if name in by and name in METRICS]
    words += f" Also reported: {listing(ours)}." if ours else ""
    return f"{words} Tied similarities count at their {_value(study, 'evaluation.tie_rule')} rank{cite(by['ties'])}."


def _statistics(study: StudyResults) -> str:
    by, intervals = references()["statistics"], interval_phrase(study)
    elsewhere = elsewhere_phrase(study, "Where a second interval is given")
    parts = [
        f"Of every score we report the {intervals}{cite(by['intervals'])}."
        if intervals
        else "With so few seeds no interval is reported.",
        "Differences are paired: the same seeds, the same test images.",
        f"p values are {tested(study)}, by random sign flips, with Holm's correction over all differences to the "
        f"baseline{cite(by['holm'])}.",
        elsewhere,
    ]
    if study.known[0] and elsewhere:
        parts.append(f"Its components of variance are estimated by REML{cite(by['elsewhere'])}.")
    if truth_is_known(study):
        how = f"the wider of Wilson's and one that takes seeds as clusters{cite(by['shares'])}"
        parts.append(f"Intervals of shares are {how}.")
    if study.definition.published is not None:
        how = f"two one-sided tests within a declared tolerance{cite(by['published'])}"
        parts.append(f"Published numbers are compared by {how}.")
    return " ".join(filter(None, parts))


def _software(study: StudyResults) -> str:
    records = [run["record"] for variant in study.variants for run in variant.runs]
    seconds = [item for variant in study.variants if math.isfinite(item := seconds_per_run(variant))]
    if not records:
        return "No run has a result."
    made = versions(study)
    packages = ("python", "fne", "torch", "transformers", "numpy", "scipy")

    def each(key: str) -> str:
        return listing(dict.fromkeys(clean(str(record[key])) for record in records if record.get(key)))

    parts = {
        "software": listing(f"{name} {made[name]}" for name in packages if name in made),
        "commit": each("commit"),
        "device": each("device"),
        "processor": each("cpu"),
        "time of one run": f"{duration(min(seconds))} to {duration(max(seconds))}" if seconds else "",
        "fingerprints of what the runs read": ", ".join(
            f"{name} {value[:12]}" for name, value in fingerprints(study).items()
        ),
    }
    words = "; ".join(f"{name}: {value}" for name, value in parts.items() if value)
    return f"Digests of config and source of each variant are in the record of the runs; {words}."
