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

from fne.report.figures.names import FIGURES
from fne.report.figures.registry import WORDS
from fne.report.page import assets, svg
from fne.steps import report
from fne.steps.audit import TABLES as AUDITED
from fne.utils.errors import UserError
from fne.utils.files import sha256_file
from fne.utils.text import clean
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE, HOSTILE_CAPTION, HOSTILE_NAME

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


def picks_data(made: Made) -> dict:
    """What the picks viewer of a page is given."""
    (text,) = re.findall(r'<script type="application/json" id="picks-data">(.*?)</script>', made.page(), re.DOTALL)
    return json.loads(text)


@pytest.fixture(scope="module")
def read(paper: Made) -> Page:
    return Page(paper.page())


def test_it_needs_no_network(paper: Made, read: Page) -> None:
    text = paper.page().replace(assets.table_library(), "")  # whose own addresses are names of licences and formats
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for _, attributes in read.seen:
        for key in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(key)
            assert value is None or value.startswith(("#", "data:image/")), value
    assert not read.all("link") and not read.all("iframe") and "@import" not in text
    assert not re.findall(r"url\((?!#)", text)


def policy_of(read: Page) -> dict[str, list[str]]:
    """The directives of the page's content security policy."""
    (text,) = [
        result["content"] for result in read.all("meta") if result.get("http-equiv") == "Content-Security-Policy"
    ]
    return {words[0]: words[1:] for words in (part.split() for part in text.split(";"))}


def hashes(text: str, tag: str) -> list[str]:
    result = re.findall(rf"<{tag}>(.*?)</{tag.split()[0]}>", text, flags=re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(item.encode()).digest()).decode()}'" for item in result]


def test_only_its_own_scripts_and_styles_count(paper: Made, read: Page) -> None:
    policy = policy_of(read)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert policy["img-src"] == ["data:"]
    assert policy["script-src"] == hashes(paper.page(), 'script type="module"') != []
    assert policy["style-src-elem"] == hashes(paper.page(), "style") != []
    kinds = [result["type"] for result in read.all("script")]
    assert sorted(kinds) == [*["application/json"] * 2, *["module"] * len(policy["script-src"])]
    assert not [key for _, attributes in read.seen for key in attributes if key.startswith("on")]


def test_untrusted_words_stay_words(hostile: Made, read: Page) -> None:
    odd = Page(hostile.page())
    assert len(odd.all("script")) == len(read.all("script"))
    assert "<script>alert" not in hostile.page().replace(assets.table_library(), "")
    assert "\n".join(odd.texts).count(HOSTILE) > 20  # titles and reasons
    data = picks_data(hostile)
    assert clean(HOSTILE_CAPTION) in {text for text, _ in data["captions"]}
    assert all(clean(HOSTILE_NAME) in name for _, _, name in data["images"])


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


def test_pictures_have_words(paper: Made, read: Page) -> None:
    summary = json.loads((paper.reports / "figures" / WORDS).read_text("utf-8"))
    drawn = {entry["id"] for entry in summary if not entry["empty"]}
    assert "scores" in drawn and len(summary) == len(FIGURES)
    shown = [result.get("id") for result in read.all("figure")]
    assert set(shown) == {f"figure-{name}" for name in drawn} and len(read.all("figcaption")) == len(shown)
    assert shown[0] == "figure-contrasts", "the figure of the answer: differences, not overlapping intervals of scores"
    assert "Nothing to draw" not in "\n".join(read.texts), "what is empty is not on the page"
    assert all(result["role"] == "img" and len(result["aria-label"]) > 20 for result in read.all("svg"))


def test_it_can_be_used_with_a_keyboard(read: Page) -> None:
    scrolling = [
        result for tag, result in read.seen if tag == "div" and result.get("class") in ("scroll sticky", "drawing")
    ]
    assert scrolling and all(result["tabindex"] == "0" and result["aria-label"] for result in scrolling)
    assert read.all("button") and all(result.get("type") in ("button", "reset") for result in read.all("button"))
    assert read.all("a")[0]["class"] == "skip"
    assert read.all("html")[0]["lang"] == "en"


def test_figures_take_the_inks_of_the_page(paper: Made) -> None:
    text = paper.page()
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert "var(--ink)" in drawing and "var(--grid)" in drawing and "var(--paper)" in drawing
    assert "#1c2128" not in drawing.lower() and "#ffffff" not in drawing.lower()
    for name in svg.INKS.values():
        assert text.count(f"--{name}: light-dark(") == 1, name


def test_sections_and_sentences(paper: Made, read: Page) -> None:
    words = "\n".join(read.texts)
    page = paper.page().replace(assets.table_library(), "")
    headings = re.findall(r"<h[23][^>]*>([^<]*)</h[23]>", page)
    assert (
        headings[0].startswith("Which variants are better or worse")
        and headings[1] == "What rsum does each variant reach?"
    )
    assert all(heading.endswith("?") for heading in headings if heading != "More questions")
    ids = [result["id"] for result in read.all("table")]
    assert ids[:2] == ["table-contrasts-primary", "table-main"], "verdicts before raw scores"
    assert "FNE (released rule) beats the baseline" in words
    assert "10 variants, seeds 0 to 4: 49 of 50 runs have a result" in words
    assert "Hardest in batch and buffer, seed 3: out of memory (train)" in words
    assert "fingerprint own-test-0a1b2c3d" in words
    assert "2.13.0" in words


def test_the_record_lists_every_file_with_its_digest(paper: Made) -> None:
    record = json.loads((paper.reports / "record.json").read_text("utf-8"))
    assert "results/paper/runs.csv" in record["inputs"] and len(record["inputs"]) > 40
    assert {f"results/paper/{name}" for name in AUDITED} <= set(record["inputs"]), "figures are drawn from these too"
    for name, digest in record["inputs"].items():
        assert sha256_file(paper.root / name) == digest
    made = {path.relative_to(paper.reports).as_posix() for path in paper.reports.rglob("*") if path.is_file()}
    assert set(record["outputs"]) == made - {"record.json"}
    for name, digest in record["outputs"].items():
        assert sha256_file(paper.reports / name) == digest
    assert record["missing"] == [{"variant": "hardest_buffer", "seed": 3, "stage": "train", "reason": "out of memory"}]
    assert len(record["test_readings"]) == 10 and record["protocols"]["own"] == "own-test-0a1b2c3d"


def test_a_damaged_log_of_test_readings_is_one_clear_error(lonely: Made, tmp_path: Path) -> None:
    shutil.copytree(lonely.root / "results", tmp_path / "results")
    shutil.copytree(lonely.reports / "figures", tmp_path / "reports" / lonely.study.name / "figures")
    log = next((tmp_path / "results" / lonely.study.name).glob("*/*/readings.test.jsonl"))
    log.write_text(log.read_text("utf-8") + '{"time": "2026-', "utf-8")
    with pytest.raises(UserError, match=r"readings\.test\.jsonl: line \d+: not valid JSON.*not an entry of the log"):
        report.run(lonely.study, tmp_path)


def test_svg_ids_get_a_prefix() -> None:
    drawn = (
        '<?xml version="1.0"?><svg height="2pt" viewBox="0 0 1 2" xmlns="x"><metadata>when</metadata>'
        '<defs><style type="text/css">*{x: y}</style><path id="a"/></defs>'
        '<use xlink:href="#a" clip-path="url(#b)" style="fill: #1c2128"/></svg>'
    )
    assert svg.inline_svg(drawn, "f", 'a "quoted" <word>') == (
        '<svg viewBox="0 0 1 2" role="img" aria-label="a &#34;quoted&#34; &lt;word&gt;" '
        'xmlns="http://www.w3.org/2000/svg">'
        '<defs><path id="f-a"/></defs><use href="#f-a" clip-path="url(#f-b)" style="fill: var(--ink)"/></svg>'
    )
