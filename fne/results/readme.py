"""The README of a bundle: what it is, how to read it, and each column in words."""

from __future__ import annotations

from fne.results.bundle import Bundle, columns_of, rows_of
from fne.results.schema import TABLES
from fne.utils.text import markdown


def readme(bundle: Bundle) -> str:
    """The text, as Markdown."""
    facts, primary = bundle.facts, bundle.facts["primary"]
    made_by = facts.get("made_by", f"fne export {facts['study']}")
    lines = [
        f"# {markdown(facts['title'])}",
        "",
        markdown(facts["question"]),
        "",
        f"Results of the study `{facts['study']}` on `{facts['dataset']}` (regime `{facts['regime']}`), written by "
        f"`{made_by}`, fne {facts['fne']}. Baseline: `{facts['baseline']}`; primary metric: "
        f"{primary['metric']}, protocol {primary['protocol']}, direction {primary['direction']}; seeds: "
        f"{', '.join(map(str, facts['seeds']))}.",
        "",
        "`bundle.json` holds what the tables do not: titles, resolved configs, digests of configs and code of the "
        "variants, the protocols with their fingerprints, fingerprints of data and features, tuning, the record of "
        "each run (code, packages, machine, times), every reading of the test split, and the columns below. Recalls "
        "are fractions. There are no captions and no images in it; images and queries are numbered in the order of "
        "the test split.",
        "",
        "```python",
        "import pandas as pd",
        "",
        'runs = pd.read_csv("runs.csv")',
        "```",
        "",
    ]
    lines += [f"Left out: {'; '.join(facts['left_out'])}.", ""] if facts["left_out"] else []
    lines += [f"Note: {markdown(note)}." for note in facts["notes"]] + ([""] if facts["notes"] else [])
    for name, content in bundle.tables.items():
        lines += [f"## {name}", "", f"{TABLES[name][0]} {rows_of(content):,} rows.", ""]
        lines += ["| Column | Type | Unit | Meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| `{key}` | {c.kind} | {c.unit} | {markdown(c.meaning)} |"
                  for key, c in columns_of(name, content).items()]  # fmt: skip
        lines.append("")
    return "\n".join(lines)
