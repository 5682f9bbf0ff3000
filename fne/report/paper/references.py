"""Which works a study is to cite, and their BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from fne.utils.latex import latex
from fne.utils.yaml_file import read_mapping

FILE = Path(__file__).with_name("references.yaml")
RULES = ("negatives.strategy", "loss.kind", "memory.kind")
"""Keys whose every value is a rule, also of other packages."""
_MARK = re.compile(r" ?\[((?:@[a-z0-9]+(?:; )?)+)\]")


@cache
def references() -> Mapping[str, Any]:
    """The sections of ``references.yaml``."""
    return read_mapping(FILE)


def sources_of(configs: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Key, value and works of every rule of flat configs that has any, each once; data sets are no rules.

    >>> sources_of([{"negatives.strategy": "hardest", "memory.kind": "none"}])
    [('negatives.strategy', 'hardest', ['faghri2018vsepp'])]
    """
    configs = list(configs)
    return [
        (key, value, works)
        for key, by_value in references()["values"].items()
        for value, works in by_value.items()
        if works and key != "data.dataset" and any(str(config.get(key)) == value for config in configs)
    ]


def without_reference(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rules that the file does not list: those of other packages."""
    values = references()["values"]
    result = (str(config[key]) for config in configs for key in RULES if key in config
             if str(config[key]) not in values[key])  # fmt: skip
    return list(dict.fromkeys(result))


def cite(keys: Iterable[str]) -> str:
    """A citation in plain text, as Pandoc reads it, after a space; empty without keys."""
    marks = "; ".join(f"@{key}" for key in dict.fromkeys(keys))
    return f" [{marks}]" if marks else ""


def cited(text: str) -> list[str]:
    """The keys that a text cites, in order."""
    return [key for key, is_citation in _split(text) if is_citation for key in key.split(",")]


def with_citations(text: str) -> str:
    r"""A plain text as LaTeX, its citations as ``\cite``.

    >>> print(with_citations("50 % of FNE [@li2023fne]; [@nobody]"))
    50 \% of FNE~\cite{li2023fne}; [@nobody]
    """
    return "".join(rf"~\cite{{{part}}}" if is_citation else _spaced(part) for part, is_citation in _split(text))


def _split(text: str) -> Iterator[tuple[str, bool]]:
    """Words and citations in turn; what looks like a citation of nothing known is words."""
    start = 0
    for result in _MARK.finditer(text):
        keys = [key.strip("@ ") for key in result[1].split(";")]
        if all(key in references()["entries"] for key in keys):
            yield text[start : result.start()], False
            yield ",".join(keys), True
            start = result.end()
    yield text[start:], False


def _spaced(text: str) -> str:
    """Words as LaTeX; keys may be divided behind their dots."""
    words = re.sub(r"(?<=[A-Za-z])([._/])(?=[A-Za-z])", "\\1\u2063", text)
    return "".join([" " * text.startswith(" "),
                    r"\allowbreak{}".join(map(latex, words.split("\u2063"))),
                    " " * text.endswith(" ")])  # fmt: skip


def bibtex(keys: Iterable[str]) -> str:
    """The entries of so many keys; a field that is not known is left out."""
    return "\n".join(_entry(key, references()["entries"][key]) for key in dict.fromkeys(keys))


def _entry(key: str, entry: Mapping[str, Any]) -> str:
    fields = {name: value for name, value in entry.items() if name != "type"}
    fields["title"] = f"{{{fields['title']}}}"  # its capitals stay
    if "eprint" in fields:
        fields |= {
            "archiveprefix": "arXiv",
            **({} if entry["type"] != "misc" else {"note": f"arXiv:{fields['eprint']}"}),
        }
    lines = (f"  {name} = {{{value}}}," for name, value in fields.items())
    return "\n".join([f"@{entry['type']}{{{key},", *lines, "}"]) + "\n"
