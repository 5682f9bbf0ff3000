"""A made-up study on disk, in the formats of the harness: for tests of what reads results.

``python -m tests.report.synthetic FOLDER`` writes one; the numbers mean nothing, but hang together.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from fne.analysis.permutation import image_floor
from fne.data.items import Item
from fne.data.truth import Truth, sorted_pairs
from fne.data.writing import staging, write_prepared
from fne.results.code import Code
from fne.results.schema import write_table
from fne.results.trials import Trial, inputs_of, write_trials
from fne.study import paths
from fne.study.api import Study, Variant, blocks, digest, load_study, parse_block, resolve
from fne.study.tuned import SECTIONS
from fne.training.picks import write as write_picks
from fne.utils.files import write_json, write_text
from fne.utils.min_seeds import MIN_SEEDS
from fne.utils.seeding import numpy_stream

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Code(ROOT)

HOSTILE = '<script>alert("1")</script> & 50% of $x_1$ \\cmd{a} #3 ~ ^ | `c` *b*'
HOSTILE_CAPTION = HOSTILE + "</script><script>alert(1)</script>\u2028<!--<script>"
HOSTILE_NAME = """'"<b>ü 雪 &amp;\u2028"""
EPOCHS, WARMUP = 16, 4
N_TRAIN, N_TEST, CAPTIONS = 40, 20, 5


@dataclass(frozen=True)
class Fake:
    """What a made-up variant is like: mean rsum (0..600), false share, hardness, seconds a step, epochs of warm-up."""

    id: str
    title: str
    strategy: str
    rsum: float
    false_share: float
    hardness: float
    step: float = 0.012
    memory: bool = True
    warmup: int = WARMUP


PAPER = (
    Fake("fne", "FNE (released rule)", "fne", 461.2, 0.011, 0.36),
    Fake("fne_abstract", "FNE (as in the abstract)", "fne", 466.9, 0.004, 0.35),
    Fake("fne_no_buffer", "FNE without memory", "fne", 458.4, 0.017, 0.33, 0.008, memory=False),
    Fake("fne_no_cutdown", "FNE without cut-down", "fne", 440.3, 0.003, 0.10),
    Fake("fne_no_elimination", "FNE without elimination", "fne", 459.8, 0.016, 0.37),
    Fake("hardest_in_batch", "Hardest in batch (VSE++)", "hardest", 455.1, 0.034, 0.39, 0.007, memory=False),
    Fake("hardest_buffer", "Hardest in memory", "hardest", 421.7, 0.181, 0.52),
    Fake("sum_of_hinges", "Sum of hinges (VSE0)", "all", 432.6, 0.005, 0.15, 0.009, memory=False),
    Fake("random", "Random negative", "random", 398.0, 0.003, 0.06, 0.006, memory=False),
    Fake("infonce", "InfoNCE", "all", 457.7, 0.02, 0.30, 0.008, memory=False),
)

FINGERPRINTS = {"data.image": "9f" * 8, "features.image": "1c" * 8, "features.text": "2d" * 8}
AUDIT_BINS = [round(-1 + 0.05 * k, 2) for k in range(41)]
BINS = [round(-1 + 0.02 * k, 4) for k in range(101)]


ALIKE = {"fne": "fne", "hardest": "hardest_in_batch", "all": "sum_of_hinges", "random": "random"}
"""The shipped variant whose config a made-up one has, by strategy."""


@functools.cache
def shipped() -> Study:
    """The study ``paper`` without tuned values."""
    return load_study("paper", root=ROOT, tuned=False)


def study_of(
    name: str, fakes: tuple[Fake, ...], seeds: tuple[int, ...], baseline: str, title: str | None = None
) -> Study:
    """A small study of variants that are each like a shipped one."""
    data = shipped().data | {"train": N_TRAIN, "val": 10, "test": N_TEST, "captions_per_image": CAPTIONS}
    library, configs = {}, {}
    for fake in fakes:
        like = fake.id if fake.id in shipped().library else ALIKE[fake.strategy]
        library[fake.id] = Variant(id=fake.id, title=fake.title, question=f"What does {fake.id} show?", parent="base",
                                   role="scientific", isolates=[], swept={}, set={},
                                   file=Path(f"ablations/variants/{fake.id}.yaml"))  # fmt: skip
        configs[fake.id] = shipped().configs[like] | {f"data.{key}": value for key, value in data.items()}
        configs[fake.id] |= {"train.epochs": EPOCHS, "warmup.epochs": fake.warmup}
    return replace(
        shipped(),
        name=name,
        title=title or "FNE and its ablations",
        question="Does eliminating false negatives help?",
        variants=tuple(configs),
        seeds=seeds,
        baseline=baseline,
        method="fne" if "fne" in configs else None,
        control="fne_no_elimination" if "fne_no_elimination" in configs else None,
        data=data,
        configs=configs,
        library=library,
        known={},
        notes=(),
    )


def write_study(
    root: Path,
    *,
    fakes: tuple[Fake, ...] = PAPER,
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    baseline: str = "hardest_in_batch",
    name: str = "paper",
    study: Study | None = None,
    missing: tuple[tuple[str, int, str, str], ...] = (),
    resources: bool = True,
    truth_known: bool = True,
    caption: str | None = None,
    odd: str = "",
) -> Study:
    """Write ``results/<name>`` and ``resources/<data_id>`` of a made-up study and return its definition.

    Args:
        root: Project root to write below.
        fakes: The variants.
        seeds: The seeds that the study asks for.
        baseline: Id of the baseline.
        name: Id of the study.
        study: The definition, where it is not to be made up.
        missing: (variant, seed, stage, reason) of runs that have no result.
        resources: Also write the data set, so that picks have images and captions.
        truth_known: Whether false negatives of the train split are known at all.
        caption: A text that stands in for every caption.
        odd: Letters in the name of every picture's file, and in its id.
    """
    study = study or study_of(name, fakes, seeds, baseline)
    name, seeds = study.name, study.seeds
    absent = {(variant, seed) for variant, seed, _, _ in missing}
    values: dict[str, dict[int, dict[tuple[str, str, str], float]]] = {}
    logs: dict[str, list[dict[str, Any]]] = {"curves": [], "audit": []}
    for fake in fakes:
        done = [seed for seed in seeds if (fake.id, seed) not in absent]
        values[fake.id] = {seed: _metrics(fake, seed) for seed in done}
        for block in blocks(study):
            inside = [seed for seed in parse_block(block) if seed in done]
            if inside:
                _write_block(
                    root / "results" / name / fake.id / block, study, fake, values[fake.id], inside, truth_known, logs
                )
    for table, rows in logs.items():
        write_table(root / "results" / name, table, rows)
    _write_tables(root / "results" / name, study, fakes, values, missing)
    if resources:
        _write_resources(root, study, caption, odd)
    return study


DECLARED = {
    "trials": 8,
    "budget": 12,
    "finalists": 2,
    "seeds": [1000, 1001, 1002, 1003],
    "search": {
        "train.learning_rate": {"log": [0.0005, 0.008]},
        "loss.margin": {"log": [0.05, 0.4]},
        "memory.momentum": {"linear": [0.5, 0.995], "highest": f"it must be below 1 {HOSTILE}"},
    },
}


def write_search(root: Path, study: Study, shared: Mapping[str, str] | None = None) -> Study:
    """Write the outcome of a search and its trials, and return the study with it.

    Args:
        root: Project root to write below.
        study: Whose search it is.
        shared: Variants that take over the values of another one, by variant.
    """
    shared, first = shared or {}, DECLARED["seeds"][0]
    protocol = {"metric": "m", "date": "2026-11-29", "command": f"fne tune {study.name}", "draw": 0}
    result: dict[str, Any] = {"declared": DECLARED, "protocol": protocol}
    result |= {section: {} for section in SECTIONS}
    trials = []
    for variant in (item for item in study.variants if item not in shared):
        scores = numpy_stream(0, "search", variant).normal(440, 15, DECLARED["trials"]).round(2)
        rounds = [*((score, "1", first) for score in scores), (599.0, "2", first), (598.0, "final", first + 1)]
        for place, (score, number, seed) in enumerate(rounds):
            made_from = {**inputs_of(FINGERPRINTS), "code": "c"}
            digest, values = f"{variant}{place}", {"train.learning_rate": 0.001 * (place + 1)}
            trials.append(Trial(variant, number, seed, float(score), 30.0, digest, made_from, values))
        rate = {"train.learning_rate": 0.0079 if variant == "infonce" else 0.002}
        margin = {} if variant == "infonce" else {"loss.margin": 0.07}
        momentum = {"memory.momentum": 0.99} if variant == "fne" else {}
        result["values"][variant] = rate | margin | momentum
        result["reasons"][variant] = "the best of 2 finalists of 10 trials"
        result["where"][variant] = (
            {key: "open end" if variant == "infonce" else "inside" for key in rate}
            | dict.fromkeys(margin, "flat")
            | dict.fromkeys(momentum, "natural bound")
        )
        ranges = {"train.learning_rate": "0.0005 to 0.032", "loss.margin": "0.05 to 0.4",
                  "memory.momentum": "0.5 to 0.995"}  # fmt: skip
        result["ranges"][variant] = {key: ranges[key] for key in result["values"][variant]}
        result["cost"][variant] = {"trials": 10, "rounds": 2, "runs": 16, "seconds": 480, "seed_sd": 1.25}
    for variant, base in shared.items():
        for section in ("values", "where", "ranges"):
            result[section][variant] = dict(result[section][base])
        result["reasons"][variant] = f"those of {base}: only the oracle differs"
    file = root / paths.tuned_file(study.name)
    write_text(file, yaml.safe_dump(result, sort_keys=False))
    write_trials(paths.trials_file(file), trials)
    return replace(study, tuned=study.name)


def _metrics(fake: Fake, seed: int) -> dict[tuple[str, str, str], float]:
    """Metric values as fractions by (protocol, direction, metric); rsum is the sum of the recalls."""
    draw = numpy_stream(seed, "synthetic", fake.id)
    shared = numpy_stream(seed, "synthetic")  # what paired seeds have in common
    level = (fake.rsum + shared.normal(0, 2.0) + draw.normal(0, 1.6)) / 600
    out: dict[tuple[str, str, str], float] = {}
    for direction, shift in (("i2t", 0.02), ("t2i", -0.02)):
        # The share of each recall in the sum, as in a real table: R@1 is low, R@10 near its ceiling.
        for metric, share in (("r1", 0.71), ("r5", 1.09), ("r10", 1.2)):
            out["own", direction, metric] = round(min(level * share + shift + draw.normal(0, 0.003), 1.0), 4)
        out["own", direction, "median_rank"] = float(1 + draw.integers(0, 2))
        purity = level * (1 - fake.false_share)
        for metric, share in (("map_at_r", 0.52), ("r_precision", 0.58), ("p1", 0.8)):
            out["truth", direction, metric] = round(purity * share + shift / 2 + draw.normal(0, 0.003), 4)
    out["own", "both", "rsum"] = sum(value for (_, _, metric), value in out.items() if metric in ("r1", "r5", "r10"))
    return out


def _write_tables(folder: Path, study: Study, fakes: tuple[Fake, ...], values: dict, missing: tuple) -> None:
    runs, intervals, contrasts = [], [], []
    for fake in fakes:
        for seed, metrics in values[fake.id].items():
            for split in ("val", "test"):
                for (protocol, direction, metric), value in metrics.items():
                    if split == "val" and protocol == "truth":
                        continue
                    runs.append(
                        {
                            "study": study.name,
                            "dataset": "scenes",
                            "regime": "head",
                            "variant": fake.id,
                            "title": fake.title,
                            "seed": seed,
                            "split": split,
                            "protocol": protocol,
                            "direction": direction,
                            "metric": metric,
                            "value": value,
                            "fingerprint": f"{protocol}-{split}-0a1b2c3d",
                            "ensemble": False,
                            "selected_epoch": 9 + seed,
                            "digest": digest(resolve(study, fake.id)),
                        }
                    )
        intervals += _intervals(study, fake, values[fake.id])
        if fake.id != study.baseline:
            contrasts += _contrasts(study, fake, values)
    _holm(contrasts)
    for table, result in (("runs", runs), ("intervals", intervals), ("contrasts", contrasts)):
        write_table(folder, table, result)
    write_json(
        folder / "protocols.json",
        {
            protocol: {
                "protocol": protocol,
                "name": f"scenes_test_{N_TEST}" + ("_truth" if protocol == "truth" else ""),
                "dataset": "scenes",
                "split": "test",
                "queries": {"i2t": N_TEST, "t2i": N_TEST * CAPTIONS},
                "gallery": {"i2t": N_TEST * CAPTIONS, "t2i": N_TEST},
                "captions_per_image": [CAPTIONS, CAPTIONS],
                "relevance": "own" if protocol == "own" else "exact",
                "tie_rule": "expected",
                "precision": "float64 products rounded to float32",
                "id": f"{protocol}-test-0a1b2c3d",
            }
            for protocol in dict.fromkeys(key[0] for of in values.values() for result in of.values() for key in result)
        },
    )
    for fake in fakes:
        for block in blocks(study):
            entry = {"time": "2026-01-01T00:00:00+00:00", "block": block, "purpose": "rank", "variant": fake.id}
            log = folder / fake.id / block / "readings.test.jsonl"
            log.parent.mkdir(parents=True, exist_ok=True)
            write_text(log, json.dumps(entry) + "\n")
    rows = [dict(zip(("variant", "seed", "stage", "reason"), row, strict=True), study=study.name) for row in missing]
    write_table(folder, "missing", rows)


def _intervals(study: Study, fake: Fake, metrics: dict) -> list[dict[str, Any]]:
    rows = []
    for key in next(iter(metrics.values()), {}):
        result = np.array([metrics[seed][key] for seed in metrics])
        half = (0.06 if key[2] == "rsum" else 0.02) + 2 * result.std() / math.sqrt(len(result))
        method = "hierarchical bootstrap (seeds, then images; 2000 resamples, percentile)"
        if len(result) < MIN_SEEDS:
            half, method = math.nan, f"none: {len(result)} seeds cannot show how much a mean varies"
        rows.append(
            {
                "study": study.name,
                "dataset": "scenes",
                "variant": fake.id,
                "protocol": key[0],
                "direction": key[1],
                "metric": key[2],
                "n_seeds": len(result),
                "n_queries": N_TEST * (CAPTIONS if key[1] == "t2i" else 1),
                "mean": result.mean(),
                "sd_seeds": result.std(ddof=1) if len(result) > 1 else math.nan,
                "low": result.mean() - half,
                "high": result.mean() + half,
                "level": 0.95,
                "method": method,
            }
        )
    return rows


def _contrasts(study: Study, fake: Fake, values: dict) -> list[dict[str, Any]]:
    rows, mine, base = [], values[fake.id], values[study.baseline]
    shared = sorted(set(mine) & set(base))
    for key in next(iter(mine.values()), {}):
        if not shared:
            continue
        result = np.array([mine[seed][key] - base[seed][key] for seed in shared])
        half = (0.03 if key[2] == "rsum" else 0.008) + 2 * result.std() / math.sqrt(len(result))
        z = abs(result.mean()) / (half / 1.96)
        half = half if len(shared) >= MIN_SEEDS else math.nan
        floor = 2 / 2 ** len(shared)
        rows.append(
            {
                "study": study.name,
                "dataset": "scenes",
                "variant": fake.id,
                "baseline": study.baseline,
                "protocol": key[0],
                "direction": key[1],
                "metric": key[2],
                "n_seeds": len(shared),
                "difference": result.mean(),
                "low": result.mean() - half,
                "high": result.mean() + half,
                "p_query": max(math.erfc(z / math.sqrt(2)), image_floor()),
                "p_query_floor": image_floor(),
                "p_query_holm": math.nan,
                "p_seed": floor if np.all(result > 0) or np.all(result < 0) else 0.25,
                "p_seed_floor": floor,
                "note": "",
            }
        )
    return rows


def _holm(contrasts: list[dict[str, Any]]) -> None:
    family = sorted((row for row in contrasts if row["metric"] == "rsum"), key=lambda row: row["p_query"])
    highest = 0.0
    for place, row in enumerate(family):
        highest = max(highest, min(1.0, (len(family) - place) * row["p_query"]))
        row |= {"p_query_holm": highest, "family": len(family)}


def _write_block(
    folder: Path, study: Study, fake: Fake, values: dict, seeds: list[int], truth_known: bool, logs: dict
) -> None:
    folder.mkdir(parents=True)
    curves, audit, picks, distributions, selection = [], [], [], [], []
    for seed in seeds:
        rows, best = _curves(fake, seed, truth_known)
        curves += rows
        selection.append({"seed": seed, "epoch": best, "val_rsum": rows[best]["val_rsum"]})
        audit += _audit(fake, seed, truth_known)
        picks.append(_picks(fake, seed, truth_known))
        distributions.append(_distributions(fake, seed, truth_known))
    logs["curves"] += [{"variant": fake.id, **row} for row in curves]
    logs["audit"] += [{"variant": fake.id, **row} for row in audit]
    np.savez(folder / "queries.test.npz", **_queries(values, seeds))
    np.savez(folder / "rankings.test.npz", **_rankings(study, fake, seeds))
    write_picks(folder / "picks.npz", {key: np.concatenate([p[key] for p in picks]) for key in picks[0]})
    write_json(folder / "distributions.json", distributions)
    steps = EPOCHS * 47
    write_json(
        folder / "run.json",
        {
            "schema": 1,
            "study": study.name,
            "variant": fake.id,
            "title": fake.title,
            "seeds": seeds,
            "config": resolve(study, fake.id),
            "digest": digest(resolve(study, fake.id)),
            "code": SOURCES.training(resolve(study, fake.id)),
            "selection": {"rule": "best_val_rsum", "per_seed": selection},
            "fingerprints": FINGERPRINTS,
            "record": {
                "python": "3.11.7",
                "packages": {"torch": "2.13.0", "numpy": "2.4.6"},
                "commit": "0123abc",
                "source": "77" * 8,
                "device": "cpu",
                "threads": 1,
                "started": "2026-11-20T12:00:00+00:00",
                "seconds": fake.step * steps * len(seeds),
                "peak_memory_mb": 612.0,
                "test_accesses": 0,
            },
            "cost": {
                "seconds_total": fake.step * steps * len(seeds),
                "steps": steps,
                "seeds": len(seeds),
                "seconds_per_step": fake.step,
            },
        },
    )


def _queries(values: dict, seeds: list[int]) -> dict[str, np.ndarray]:
    """Sums per image whose means are the metrics, with noise over images that all variants share."""
    noise = numpy_stream(0, "synthetic", "queries").normal(0, 0.05, N_TEST)
    noise -= noise.mean()
    arrays: dict[str, np.ndarray] = {"seeds": np.array(seeds)}
    for protocol, direction, metric in values[seeds[0]]:
        count = CAPTIONS if direction == "t2i" else 1
        if metric in ("rsum", "median_rank"):
            continue
        arrays[f"{protocol}/{direction}/count"] = np.full(N_TEST, count, np.int32)
        level = np.array([values[seed][protocol, direction, metric] for seed in seeds])
        arrays[f"{protocol}/{direction}/{metric}"] = count * (level[:, None] + noise)
    for direction, count in (("i2t", 1), ("t2i", CAPTIONS)):
        luck = numpy_stream(0, "synthetic", "ranks", direction).random(N_TEST * count)
        result = [[values[seed]["own", direction, f"r{k}"] for k in (1, 5, 10)] for seed in seeds]
        beyond = [np.searchsorted(levels, luck) for levels in result]
        arrays[f"own/{direction}/rank"] = np.array([1, 2, 6, 11], np.float32)[np.stack(beyond)]
    return arrays


def true_pairs(size: int) -> np.ndarray:
    """Own pairs, and every fourth image also matches a caption of the next one."""
    captions, other = np.arange(size * CAPTIONS), np.arange(0, size - 1, 4)
    own = np.stack([captions // CAPTIONS, captions], axis=1)
    return sorted_pairs(np.concatenate([own, np.stack([other, CAPTIONS * (other + 1)], axis=1)]))


def similarity(fake: str, seed: int) -> np.ndarray:
    """Of the images and captions of the test split, (N_TEST, N_TEST * CAPTIONS) float32, with ties."""
    draw = numpy_stream(seed, "synthetic", "similarity", fake).normal(0, 0.3, (N_TEST, N_TEST * CAPTIONS))
    image, caption = true_pairs(N_TEST).T
    draw[image, caption] += np.where(image == caption // CAPTIONS, 0.3, 1.0)  # a false negative beats most own pairs
    return draw.round(1).astype(np.float32)


def _rankings(study: Study, fake: Fake, seeds: list[int]) -> dict[str, np.ndarray]:
    pairs, captions = true_pairs(N_TEST), N_TEST * CAPTIONS
    rows = {"own": np.flatnonzero(pairs[:, 0] == pairs[:, 1] // CAPTIONS), "truth": np.arange(len(pairs))}
    arrays: dict[str, np.ndarray] = {"pairs": pairs, "caption_image": np.arange(captions, dtype=np.int32) // CAPTIONS}
    for direction, (protocol, part) in itertools.product(("i2t", "t2i"), rows.items()):
        arrays[f"{protocol}/{direction}/pairs"] = part.astype(np.int32)
    for seed in seeds:
        for direction, scores in (("i2t", similarity(fake.id, seed)), ("t2i", similarity(fake.id, seed).T)):
            query, item = pairs.T if direction == "i2t" else pairs[:, ::-1].T
            mine = scores[query, item][:, None]
            top = np.argsort(-scores, axis=1, kind="stable")[:, :10]
            counts = {"greater": (scores[query] > mine).sum(1), "ties": (scores[query] == mine).sum(1) - 1}
            arrays |= {f"{seed}/{direction}/{name}": count.astype(np.int32) for name, count in counts.items()}
            arrays[f"{seed}/{direction}/top_ids"] = top.astype(np.int32)
            arrays[f"{seed}/{direction}/top_scores"] = np.take_along_axis(scores, top, axis=1)
    meta = {"schema": 2, "config": resolve(study, fake.id), "protocols": {"own": {"relevance": "own"},
            "truth": {"relevance": "exact"}}}  # fmt: skip
    return {"meta": np.array(json.dumps(meta)), **arrays}


def _curves(fake: Fake, seed: int, truth_known: bool) -> tuple[list[dict[str, Any]], int]:
    draw = numpy_stream(seed, "synthetic", "curves", fake.id)
    rows = []
    collapsed_at = 9 if fake.id == "hardest_buffer" and seed == 3 else EPOCHS + 1
    for epoch in range(EPOCHS):
        phase = "warmup" if epoch < fake.warmup else "main"
        top = 425 if phase == "warmup" else fake.rsum
        start = 300 if phase == "warmup" else 425
        t = (epoch + 1) / 2.0 if phase == "warmup" else (epoch - fake.warmup + 1) / 3.0
        value = top - (top - start) * math.exp(-t) + draw.normal(0, 2.5)
        loss = (0.9 if fake.id == "infonce" else 0.25) * math.exp(-epoch / 8) + 0.03
        if epoch >= collapsed_at:
            value, loss = 12.0 + draw.normal(0, 0.5), 0.4
        row: dict[str, Any] = {
            "seed": seed,
            "epoch": epoch,
            "step": 47 * (epoch + 1),
            "seconds": fake.step * 47 * (epoch + 1),
            "phase": phase,
            "loss": loss * (4 if phase == "warmup" else 1),
            "learning_rate": 1e-3 * (1 - epoch / EPOCHS),
            "val_rsum": value / 100,
            "val_r1_i2t": value / 850,
            "val_r1_t2i": value / 880,
        }
        for direction in ("i2t", "t2i"):
            share = 0.005 if phase == "warmup" else fake.false_share * (1 + 0.3 * math.tanh((epoch - 9) / 4))
            row |= {
                f"fn_share_{direction}": share + draw.normal(0, share / 15) if truth_known else None,
                f"hardness_{direction}": 0.15 if phase == "warmup" else fake.hardness,
                f"gap_{direction}": 0.25,
                f"ess_{direction}": 12.0,
                f"override_share_{direction}": 0.02 if fake.strategy == "fne" else None,
                f"fallback_share_{direction}": 0.01,
                f"contributing_{direction}": 0.5,
            }
        rows.append(row | {"queue_age": 4.0 if fake.memory else None, "collapsed": int(epoch >= collapsed_at)})
    best = max(range(fake.warmup, EPOCHS), key=lambda epoch: rows[epoch]["val_rsum"])
    return rows, best


def _truth_rate(similarity: np.ndarray) -> np.ndarray:
    """Share of false negatives among true candidates of a similarity: rare, and steep."""
    return 1 / (1 + np.exp(-(similarity - 0.72) / 0.07))


def _audit(fake: Fake, seed: int, truth_known: bool) -> list[dict[str, Any]]:
    draw = numpy_stream(seed, "synthetic", "audit", fake.id)
    rows = []
    epochs = range(fake.warmup, EPOCHS)
    for epoch, direction in itertools.product(epochs, ("i2t", "t2i")):
        similarity = np.clip(draw.normal(fake.hardness, 0.11, 20_000 // len(epochs)), -0.99, 0.99)
        candidates = np.clip(draw.normal(0.05, 0.16, 400_000 // len(epochs)), -0.99, 0.99)
        rate = _truth_rate(similarity)
        false = draw.random(similarity.size) < np.clip(rate * fake.false_share / max(rate.mean(), 1e-9), 0, 1)
        other = draw.random(candidates.size) < _truth_rate(candidates)
        tables = [
            np.histogram(x, AUDIT_BINS)[0] for x in (similarity, similarity[false], candidates, candidates[other])
        ]
        for k, counts in enumerate(zip(*(table.tolist() for table in tables), strict=True)):
            if counts[0] or counts[2]:
                known = counts if truth_known else (counts[0], 0, counts[2], 0)
                rows.append(
                    {
                        "seed": seed,
                        "epoch": epoch,
                        "direction": direction,
                        "bin_low": AUDIT_BINS[k],
                        "bin_high": AUDIT_BINS[k + 1],
                        **dict(
                            zip(
                                ("picks", "false_negatives", "candidates", "candidate_false_negatives"),
                                known,
                                strict=True,
                            )
                        ),
                    }
                )
    return rows


def _picks(fake: Fake, seed: int, truth_known: bool) -> dict[str, np.ndarray]:
    """Picks for anchors that all variants of a seed share; a third of the candidates are the same for all, too."""
    draw, shared = numpy_stream(seed, "synthetic", "picks", fake.id), numpy_stream(seed, "synthetic", "picks")
    n = 200
    direction = shared.integers(0, 2, n).astype(np.int8)
    epoch = shared.integers(WARMUP, EPOCHS, n).astype(np.int16)
    rows = [np.where(direction == way, rows, 0) for way, rows in enumerate(_rows(shared, n))]
    common, own = _rows(shared, n), _rows(draw, n)
    alike = shared.random(n) < 1 / 3
    candidates = [np.where(alike, mine, other) for mine, other in zip(common, own, strict=True)]
    similarity = draw.normal(fake.hardness, 0.11, n).astype(np.float32)
    # Whether a pair matches does not depend on who picked it.
    false = np.where(alike, shared.random(n) < 0.05, draw.random(n) < fake.false_share * 3).astype(np.int8)
    posterior = 1 / (1 + np.exp(-(similarity - 0.6) / 0.04)) if fake.strategy == "fne" else np.full(n, np.nan)
    return {
        "seed": np.full(n, seed, np.int32),
        "epoch": epoch,
        "step": (47 * epoch.astype(np.int32) + shared.integers(0, 3, n)).astype(np.int32),
        "direction": direction,
        "anchor": (rows[0] + rows[1]).astype(np.int32),
        "candidate": np.where(direction == 0, candidates[1], candidates[0]).astype(np.int32),
        "similarity": similarity,
        "positive_similarity": draw.normal(0.6, 0.1, n).astype(np.float32),
        "posterior": posterior.astype(np.float32),
        "weight": draw.random(n).astype(np.float32),
        "from_queue": (queued := draw.integers(0, 2, n)).astype(np.int8),
        "age": np.where(queued == 1, 1 + np.arange(n) % 8, -1).astype(np.int32),
        "false_negative": false if truth_known else np.full(n, -1, np.int8),
    }


def _rows(draw: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of images and of captions of the train split."""
    return draw.integers(0, N_TRAIN, n), draw.integers(0, N_TRAIN * CAPTIONS, n)


def _distributions(fake: Fake, seed: int, truth_known: bool) -> dict[str, Any]:
    draw = numpy_stream(seed, "synthetic", "distributions", fake.id)
    positive, hard = draw.normal(0.66, 0.1, 4096), draw.normal(0.43, 0.08, 8192)
    others = draw.normal(0.03, 0.15, 500_000)
    false = draw.normal(0.6, 0.1, 1500 if truth_known else 0)
    sets = zip(
        ("positives", "hard_negatives", "false_negatives", "all_negatives"),
        (positive, hard, false, others),
        strict=True,
    )
    return {
        "seed": seed,
        "bins": BINS,
        **{name: np.histogram(np.clip(x, -1, 1), BINS)[0].tolist() for name, x in sets},
        "fit": {
            "pos_mean": 0.68,
            "pos_var": 0.007,
            "neg_mean": 0.42,
            "neg_var": 0.005,
            "pos_count": 3000.0,
            "neg_count": 6000.0,
        },
        "prior": 1e-4 if fake.strategy == "fne" else None,
    }


def _write_resources(root: Path, study: Study, caption: str | None, odd: str) -> None:
    folder = root / paths.data_folder(study)
    sizes = {"train": N_TRAIN, "val": 10, "test": N_TEST}
    (folder / "images").mkdir(parents=True)
    items, truths = [], {}
    draw = numpy_stream(0, "synthetic", "images")
    for split, size in sizes.items():
        for number in range(size):
            pixels = np.kron(draw.integers(0, 256, (3, 3, 3), np.uint8), np.ones((16, 16, 1), np.uint8))
            name = f"{split}-{number}{odd}"
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            words = f"a small red square left of a blue disc, picture {number}, caption "
            texts = [caption or f"{words}{k}" + " on grey" * ((number + k) % 3) for k in range(CAPTIONS)]
            items.append(Item(name, f"{name}.png", split, texts))
        queries = np.arange(size, dtype=np.int32), np.arange(size * CAPTIONS, dtype=np.int32)
        truths[split] = Truth("exact", true_pairs(size), *queries)
    with staging(folder) as temporary:
        write_prepared(temporary, folder, dict(study.data), "images", items, truths, "00" * 32)


if __name__ == "__main__":
    write_study(Path(sys.argv[1]))
