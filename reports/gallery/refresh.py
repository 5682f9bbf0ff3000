"""Refresh the README's picture and table from a finished study: `python reports/gallery/refresh.py [STUDY]`.

The gallery stands outside the DAG: what a run writes elsewhere under ``reports/`` is not in git.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "reports" / "gallery"
PICTURES = {"scores": "score_by_variant", "picks": "false_negative_picks", "distributions": "posterior"}
MARKS = re.compile(r"(<!-- results:begin -->\n).*(<!-- results:end -->)", re.DOTALL)


def main(study: str) -> None:
    """Copy pictures and the main table, and lay the table between the README's marks."""
    made = ROOT / "reports" / study
    for name, shown in PICTURES.items():
        shutil.copyfile(made / "figures" / f"{name}.png", GALLERY / f"{shown}.png")
    table = (made / "tables" / "main.md").read_text(encoding="utf-8").strip()
    (GALLERY / "main_table.md").write_text(f"{table}\n", encoding="utf-8")
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(MARKS.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "paper")
