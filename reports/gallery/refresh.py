"""Refresh what the gallery and the README show from finished studies: `python reports/gallery/refresh.py`.

Of `paper` the figures and the main table, of `literature` the main table. The gallery stands outside the DAG: what a
run writes elsewhere under ``reports/`` is not in git.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "reports" / "gallery"
STUDIES = ("paper", "literature")
PICTURES = {"contrasts": "difference_to_baseline", "picks": "false_negative_picks", "distributions": "posterior"}
MARKS = re.compile(r"(<!-- results:begin -->\n).*(<!-- results:end -->)", re.DOTALL)


def main() -> None:
    """Copy pictures and main tables; the first study's table goes between the README's marks too."""
    tables = {}
    for study in STUDIES:
        file = ROOT / "reports" / study / "tables" / "main.md"
        if not file.is_file():
            raise SystemExit(f"error: {file}: not there; run `snakemake --cores all --config study={study}` first")
        tables[study] = file.read_text(encoding="utf-8").strip()
    for name, shown in PICTURES.items():
        shutil.copyfile(ROOT / "reports" / STUDIES[0] / "figures" / f"{name}.png", GALLERY / f"{shown}.png")
    for study, table in tables.items():
        (GALLERY / f"{study}_table.md").write_text(f"{table}\n", encoding="utf-8")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    shown = tables[STUDIES[0]]
    readme.write_text(MARKS.sub(lambda found: f"{found[1]}{shown}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
