"""The page: one file without a network, well formed, escaped, usable without a mouse; and its record."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fne.errors import UserError
from fne.files import sha256_file
from fne.reporting import page, report
from fne.reporting.figures import FIGURES
from tests.reporting.conftest import Made
from tests.reporting.synthetic import HOSTILE

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects tags, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


@pytest.fixture(scope="module")
def read(paper: Made) -> Page:
    return Page(paper.page())


def test_it_needs_no_network(paper: Made, read: Page) -> None:
    text = paper.page()
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for _, attributes in read.seen:
        for key in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/")), value
    assert not read.all("link") and not read.all("iframe") and "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def test_it_is_small(paper: Made) -> None:
    assert (paper.reports / "report.html").stat().st_size < 3_000_000


def test_only_its_own_script_may_run(paper: Made, read: Page) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", paper.page(), flags=re.DOTALL)
    assert len(scripts) == len(read.all("script")) == 1
    policy = next(
        found["content"] for found in read.all("meta") if found.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not [key for _, attributes in read.seen for key in attributes if key.startswith("on")]


def test_untrusted_words_stay_words(hostile: Made) -> None:
    read = Page(hostile.page())
    assert len(read.all("script")) == 1
    assert "<script>alert" not in hostile.page()
    joined = "\n".join(read.texts)
    assert joined.count(HOSTILE) > 20  # titles, reasons and captions
    labels = [found["alt"] for found in read.all("img")]
    assert labels and all(HOSTILE in label for label in labels)


def test_headings_descend_one_step_at_a_time(read: Page) -> None:
    levels = [int(tag[1]) for tag, _ in read.seen if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_ids_are_unique_and_links_lead_somewhere(read: Page) -> None:
    ids = [attributes["id"] for _, attributes in read.seen if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for _, attributes in read.seen for key, value in attributes.items()
               if key == "href" and value and value.startswith("#")}  # fmt: skip
    assert targets and targets <= set(ids)
    inside = set(re.findall(r"url\(#([^)]*)\)", "".join(str(attributes) for _, attributes in read.seen)))
    assert inside <= set(ids)


def test_pictures_have_words(read: Page) -> None:
    drawings = [found for found in read.all("svg") if found.get("role") == "img"]
    assert len(drawings) == len(FIGURES) == len(read.all("svg"))
    assert all(len(found["aria-label"]) > 40 for found in drawings)
    assert all(found["alt"] for found in read.all("img"))
    assert len(read.all("figcaption")) == len(FIGURES)


def test_it_can_be_used_with_a_keyboard(read: Page) -> None:
    scrolling = [
        found for tag, found in read.seen if tag == "div" and found.get("class") in ("scroll sticky", "drawing")
    ]
    assert scrolling and all(found["tabindex"] == "0" and found["aria-label"] for found in scrolling)
    assert len(read.all("button")) >= 15 and all(found.get("type") == "button" for found in read.all("button"))
    assert read.all("a")[0]["class"] == "skip"
    assert read.all("html")[0]["lang"] == "en"


def test_figures_take_the_inks_of_the_page(paper: Made) -> None:
    text = paper.page()
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert "var(--ink)" in drawing and "var(--grid)" in drawing and "var(--paper)" in drawing
    assert "#1c2128" not in drawing.lower() and "#ffffff" not in drawing.lower()
    for name in page.INKS.values():
        assert text.count(f"--{name}:") == 2, name  # one value for the light, one for the dark


def test_sections_and_sentences(paper: Made, read: Page) -> None:
    words = "\n".join(read.texts)
    for heading in (
        "Main table",
        "Figures",
        "Contrasts",
        "What sets each variant apart",
        "Example picks",
        "How it was made",
    ):
        assert heading in words
    assert "FNE (as released) beats the baseline" in words
    assert "10 variants, seeds 0 to 4: 49 of 50 runs have a result" in words
    assert "hardest_buffer" in words and "out of memory (train)" in words
    assert "fingerprint own-test-0a1b2c3d" in words
    assert "2.13.0" in words


def test_the_record_lists_every_file_with_its_digest(paper: Made) -> None:
    record = json.loads((paper.reports / "record.json").read_text("utf-8"))
    assert "results/paper/runs.csv" in record["inputs"] and len(record["inputs"]) > 40
    for name, digest in record["inputs"].items():
        assert sha256_file(paper.root / name) == digest
    made = {path.relative_to(paper.reports).as_posix() for path in paper.reports.rglob("*") if path.is_file()}
    assert set(record["outputs"]) == made - {"record.json"}
    for name, digest in record["outputs"].items():
        assert sha256_file(paper.reports / name) == digest
    assert record["missing"] == [{"variant": "hardest_buffer", "seed": 3, "stage": "train", "reason": "out of memory"}]
    assert len(record["test_readings"]) == 10 and record["protocols"]["own"] == "own-test-0a1b2c3d"


def test_without_figures_it_says_which_command_draws_them(lonely: Made, tmp_path: Path) -> None:
    shutil.copytree(lonely.root / "results", tmp_path / "results")
    with pytest.raises(UserError, match="run `fne figures` first"):
        report.run(lonely.study, tmp_path)
    assert not (tmp_path / "reports").exists()


def test_no_prepared_data_is_said(lonely: Made) -> None:
    assert "the prepared data (images and captions) are not on this machine" in lonely.page()


def test_svg_ids_get_a_prefix() -> None:
    svg = (
        '<?xml version="1.0"?><svg height="2pt" viewBox="0 0 1 2" xmlns="x"><metadata>when</metadata>'
        '<defs><path id="a"/></defs>'
        '<use xlink:href="#a" clip-path="url(#b)" style="fill: #1c2128"/></svg>'
    )
    assert page.inline_svg(svg, "f", 'a "quoted" <word>') == (
        '<svg viewBox="0 0 1 2" role="img" aria-label="a &#34;quoted&#34; &lt;word&gt;" '
        'xmlns="http://www.w3.org/2000/svg">'
        '<defs><path id="f-a"/></defs><use href="#f-a" clip-path="url(#f-b)" style="fill: var(--ink)"/></svg>'
    )
