"""Published results, ``ablations/published.yaml``: sourced numbers in percent, read strictly; null stays null."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, WithJsonSchema, create_model

from fne.protocols import DIRECTIONS, RECALLS
from fne.utils.errors import bad_input
from fne.utils.fields import Choice, Text, flatten
from fne.utils.models import Section, only_keys, read_parts, read_section
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

FILE = Path("ablations", "published.yaml")
CONFIDENCE = {
    "A": "primary source",
    "B": "secondary source, at least partly cross-checked",
    "C": "secondary source, not cross-checked",
}
ROUNDING = 0.05
"""Half a unit of the last digit that papers print."""
Percent = Annotated[float, Field(ge=0, le=100)] | None
PREFIXES = {
    "flickr30k 1k_test": "f30k-",
    "coco coco_1k_5fold": "coco1k-",
    "coco coco_5k": "coco5k-",
    "coco eccv": "eccv-",
    "coco cxc": "cxc-",
}
"""By data set and protocol, how ids begin."""
Model = TypeVar("Model", bound=Section)
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;)]+")


class Metrics(Section):
    """The numbers of a published result, by direction; rsum is of both."""

    @cached_property
    def values(self) -> dict[tuple[str, str], float | None]:
        """Percent by (direction, metric), direction ``both`` for rsum; None where none could be read."""
        flat = flatten(self.model_dump(exclude_unset=True))
        return {(key.rpartition(".")[0] or "both", key.rpartition(".")[2]): value for key, value in flat.items()}

    def conflicts(self) -> Iterator[tuple[str, str, float]]:
        """Recalls that fall with K, an rsum that is not the sum of its parts."""
        values = self.values
        sides = [side for side in DIRECTIONS if (side, "r5") in values]
        for side in sides:
            known = [(metric, value) for metric in RECALLS if (value := values[side, metric]) is not None]
            for (lower, before), (upper, after) in pairwise(known):
                if before > after:
                    yield f"{lower} {before} exceeds {upper} {after}", f"{side}.{lower}", before
        if (rsum := values.get(("both", "rsum"))) is not None:
            parts = [part for side in sides for metric in RECALLS if (part := values[side, metric]) is not None]
            if len(parts) == 2 * len(RECALLS) and abs(rsum - sum(parts)) > ROUNDING * (len(parts) + 1) + 1e-9:
                yield f"is not the sum of its recalls, {sum(parts):.1f}, within rounding", "rsum", rsum


class Encoders(Section):
    """What the encoders are called; None where the source does not state it."""

    image: Text | None
    text: Text | None

    def __str__(self) -> str:
        return f"{self.image or 'not stated'} + {self.text or 'not stated'}"


Position = Annotated[Annotated[int, Field(ge=1)] | Text, Field(title="a number from 1 on, or text such as S3 or II")]


class Source(Section):
    """Where numbers were read in a paper.

    Args:
        paper: The paper, with its DOI where it has one.
        page: Page of the paper.
        table: Number of the table.
    """

    paper: Text
    page: Position
    table: Position

    def __str__(self) -> str:
        return f"{self.paper}, page {self.page}, table {self.table}"


class Entry(Section):
    """One published result.

    Args:
        id: Its slug, which begins with the name of data set and protocol.
        method: Name of the method.
        backbone: Its encoders.
        dataset: ``flickr30k`` or ``coco``; may be left out, as ``protocol`` may: the id says it.
        protocol: With the data set one of :func:`kinds`.
        ensemble: Whether models were combined; None where the source does not say.
        metrics: The numbers.
        source: Where they stand: text, or ``paper``, ``page`` and ``table``.
        confidence: A key of :data:`CONFIDENCE`; None where there is no value. Of a table that was read it is A.
        rsum_is_sum: Whether rsum was added up here.
        note: A remark, or nothing.
    """

    id: str
    method: Text
    backbone: Encoders
    dataset: Text = ""
    protocol: Text = ""
    ensemble: bool | None = None
    metrics: Any
    source: Annotated[Text, WithJsonSchema({"anyOf": [{"type": "string"}, Source.model_json_schema()]})]
    confidence: Annotated[str, Choice(CONFIDENCE)] | None = None
    rsum_is_sum: bool = False
    note: Text = ""

    @property
    def values(self) -> Mapping[tuple[str, str], float | None]:
        """The numbers, see :attr:`Metrics.values`."""
        return self.metrics.values

    @property
    def available(self) -> bool:
        """Is any of its numbers known here?"""
        return any(value is not None for value in self.values.values())

    @property
    def doi(self) -> str | None:
        """The DOI that its source or note names."""
        result = _DOI.search(f"{self.source} {self.note}")
        return result.group().rstrip(".") if result else None

    def conflicts(self) -> Iterator[tuple[str, str, Any]]:
        """A confidence in nothing or none in something, an rsum that is not there, no source."""
        if self.available == (self.confidence is None):
            fitting = f"one of {', '.join(CONFIDENCE)}" if self.available else "null, because it has no value"
            yield f"must be {fitting}", "confidence", self.confidence or "null"
        if not self.available and self.doi is None:
            yield "has no value and names no DOI", "source", self.source
        if self.rsum_is_sum and self.values.get(("both", "rsum")) is None:
            yield "there is no rsum", "rsum_is_sum", True


def _model(base: type[Model], **keys: Any) -> type[Model]:
    """A model with more keys: of each its type, or its type and default."""
    fields: Any = {name: key if isinstance(key, tuple) else (key, ...) for name, key in keys.items()}
    return create_model(base.__name__, __base__=base, **fields)


def _kind(name: str, **metrics: Any) -> type[Entry]:
    """The model of the results on one data set and protocol."""
    prefix, (dataset, protocol) = PREFIXES[name], name.split()
    slug = Field(pattern=f"^{prefix}[a-z0-9-]*$", title=f"{prefix} and then lower-case letters, digits and -")
    whole, part = Annotated[str, Choice([dataset])], Annotated[str, Choice([protocol])]
    return _model(Entry, id=Annotated[str, slug], dataset=whole, protocol=part, metrics=_model(Metrics, **metrics))


@cache
def kinds() -> dict[str, type[Entry]]:
    """The models of published results, by data set and protocol."""
    recalls, rsum = _model(Section, **dict.fromkeys(RECALLS, Percent)), Annotated[float, Field(ge=0, le=600)] | None
    eccv, r1 = _model(Section, map_at_r=Percent, r_precision=Percent, r1=Percent), _model(Section, r1=Percent)
    folds, mean = _model(recalls, pmrp=(Percent, None)), _model(eccv, coco_5k_r1=Percent)
    metrics: dict[str, dict[str, Any]] = {
        "flickr30k 1k_test": {"i2t": recalls, "t2i": recalls, "rsum": rsum},
        "coco coco_1k_5fold": {"i2t": folds, "t2i": folds, "rsum": rsum},
        "coco coco_5k": {"i2t": recalls, "t2i": recalls, "rsum": rsum},
        "coco eccv": {"i2t": eccv, "t2i": eccv, "mean": mean},
        "coco cxc": dict.fromkeys(("i2t", "t2i", "t2t", "i2i", "mean"), r1),
    }
    return {name: _kind(name, **metrics[name]) for name in PREFIXES}


def metrics_of(kind: str) -> dict[str, bool]:
    """The dotted numbers of results of a kind, and whether each must be there, if only as null."""
    parts = kinds()[kind].model_fields["metrics"].annotation.model_fields  # type: ignore[union-attr]
    inner = {name: getattr(field.annotation, "model_fields", {}) for name, field in parts.items()}
    return {f"{name}.{leaf}" if leaf else name: not leaf or leaves[leaf].is_required()
            for name, leaves in inner.items() for leaf in leaves or [""]}  # fmt: skip


def read_published(root: Path) -> dict[str, Entry]:
    """Read and check all published results, by id; see :func:`read_results`."""
    return read_results(read_mapping(Path(root) / FILE), Path(root) / FILE)


def read_results(content: Mapping[str, Any], file: Path) -> dict[str, Entry]:
    """Check the content of a file of published results.

    Raises:
        UserError: Lists every problem: a missing or unknown key, an id twice, a value that cannot be (a recall beyond
            100, R@1 above R@5, an rsum that is not the sum within rounding), a result without any number or DOI.
    """
    only_keys(content, ("results",), file)
    results = content.get("results")
    if not isinstance(results, list) or not results:
        raise bad_input("must be a list of results", file=file, key="results", value=results)
    problems, entries = Problems(), dict[str, Entry]()
    for place, result in enumerate(results):
        name = result.get("id") if isinstance(result, dict) else None
        prefix = f"{name}: " if isinstance(name, str) and _SLUG.fullmatch(name) else f"results[{place}]: "
        result = _in_full(result, file, problems, prefix) if isinstance(result, dict) else result
        declared = result if isinstance(result, dict) else {}
        kind = f"{declared.get('dataset')} {declared.get('protocol')}"
        if kind not in kinds():
            if declared:
                at = {"file": file, "key": f"{prefix}protocol", "value": kind}
                problems.report("no such data set and protocol", allowed=kinds(), **at)
            read_parts(Entry, result, file, problems, prefix)
        elif entry := read_section(kinds()[kind], result, file, problems, prefix):
            if entry.id in entries:
                problems.report("is listed twice", file=file, key="id", value=entry.id)
            entries[entry.id] = entry
    problems.raise_any(str(file))
    return entries


def _in_full(result: dict[str, Any], file: Path, problems: Problems, prefix: str) -> dict[str, Any]:
    """A result with what its id and its source say of it."""
    if not {"dataset", "protocol"} & {*result}:
        kind = next((kind for kind, start in PREFIXES.items() if str(result.get("id")).startswith(start)), None)
        if kind is None:
            allowed = ", ".join(f"{start}... ({kind})" for kind, start in PREFIXES.items())
            at = {"file": file, "key": f"{prefix}id", "value": result.get("id")}
            problems.report("says no data set and protocol", allowed=allowed, **at)
            kind = next(iter(PREFIXES))
        result = dict(zip(("dataset", "protocol"), kind.split(), strict=True)) | result
    if isinstance(result.get("source"), Mapping):
        source = read_section(Source, result["source"], file, problems, f"{prefix}source.")
        result = {"confidence": "A"} | result | {"source": str(source)}
    return result
