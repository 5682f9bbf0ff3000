"""The report page in a real browser: tables, the picks viewer, the dark, a phone, hostile words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fne.utils.text import clean
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE, HOSTILE_CAPTION, HOSTILE_NAME

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()
AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
DESKTOP, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 800}


@dataclass
class Tab:
    """An open page, and everything that a page should not do."""

    page: object
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def run(self, code: str, *arguments: object) -> object:
        return self.page.evaluate(code, *arguments)

    def texts(self, selector: str) -> list[str]:
        return self.run("s => [...document.querySelectorAll(s)].map(e => e.innerText.trim())", selector)


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        opened.close()


def open_tab(browser: object, made: Made, size: dict = DESKTOP, **options: object) -> Tab:
    page = browser.new_context(viewport=size, **options).new_page()
    tab = Tab(page)
    page.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: tab.said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (tab.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: tab.asked.append(request.url))
    page.goto((made.reports / "report.html").as_uri(), wait_until="load")
    return tab


@pytest.fixture(scope="module")
def desktop(browser: object, paper: Made) -> Tab:
    return open_tab(browser, paper)


@pytest.fixture(scope="module")
def unfolded(desktop: Tab) -> Tab:
    unfold(desktop)
    return desktop


@pytest.fixture(scope="module")
def phone(browser: object, paper: Made) -> Tab:
    tab = open_tab(browser, paper, PHONE)
    unfold(tab)
    return tab


@pytest.fixture(scope="module")
def attacked(browser: object, hostile: Made) -> Tab:
    tab = open_tab(browser, hostile)
    unfold(tab)
    return tab


def unfold(tab: Tab) -> None:
    tab.run("() => document.querySelectorAll('details').forEach(part => { part.open = true })")


def nothing_odd(tab: Tab) -> None:
    assert tab.said == []
    outside = [url for url in tab.asked if not url.startswith("data:")]
    assert len(outside) == 1 and outside[0].startswith("file:"), "the page itself is all that is asked for"


def test_it_opens_alone_and_silently(desktop: Tab, record_property: object) -> None:
    code = "const one = performance.getEntriesByType('navigation')[0]; return [one.domInteractive, one.loadEventEnd]"
    interactive, loaded = desktop.run(f"() => {{ {code} }}")
    record_property("interactive_ms", round(interactive))
    record_property("loaded_ms", round(loaded))
    print(f"report page: interactive after {interactive:.0f} ms, loaded after {loaded:.0f} ms")
    assert len(desktop.texts("#table-main tbody tr")) == 10
    nothing_odd(desktop)


def column(tab: Tab, table: str, place: int) -> list[str]:
    return tab.texts(f"#{table} tbody tr > :nth-child({place})")


def head(table: str, place: int) -> str:
    return f"#{table} thead tr:last-child > :nth-child({place})"


def settles(tab: Tab, found: Callable[[], object], wanted: object) -> None:
    """Assert that the page comes to show what is wanted; a table is drawn anew a moment after the press."""
    for _ in range(100):
        if found() == wanted:
            return
        tab.page.wait_for_timeout(50)
    assert found() == wanted


def test_columns_sort_by_their_numbers_with_a_mouse_and_with_keys(desktop: Tab) -> None:
    def scores() -> list[float]:
        return [float(text.split()[0].replace("−", "-")) for text in column(desktop, "table-main", 9)]

    def names() -> list[str]:
        return column(desktop, "table-main", 1)

    given, ordered = names(), sorted(scores())
    assert scores() != ordered[::-1] and given != sorted(given)
    desktop.page.click(head("table-main", 9))
    settles(desktop, scores, ordered[::-1])
    assert desktop.page.get_attribute(head("table-main", 9), "aria-sort") == "descending"
    desktop.page.focus(head("table-main", 9) + " [tabindex='0']")
    desktop.page.keyboard.press("Enter")
    settles(desktop, scores, ordered)
    desktop.page.keyboard.press("Enter")
    settles(desktop, names, given)  # the third press gives the study's own order back
    desktop.page.click(head("table-main", 1))
    settles(desktop, names, sorted(given))


def test_a_cell_without_a_number_stays_at_the_end(attacked: Tab) -> None:
    for _ in range(2):
        attacked.page.click(head("table-main", 9))
        settles(attacked, lambda: column(attacked, "table-main", 9)[-1], "—")
        settles(attacked, lambda: "infonce" in column(attacked, "table-main", 1)[-1], True)


def test_only_columns_that_decide_are_shown_until_all_are_requested(desktop: Tab) -> None:
    def shown() -> list[str]:
        heads = "[...document.querySelectorAll('#table-main thead tr:last-child th')]"
        texts = desktop.run(f"() => {heads}.filter(e => e.checkVisibility()).map(e => e.innerText)")
        return [" ".join(text.split()) for text in texts]

    assert shown() == ["Variant", "Seeds", "rsum", "Δ baseline", "p (Holm)", "False picks"]
    desktop.page.check("#results .check input")
    assert len(shown()) == 15 and shown()[2:5] == ["R@1", "R@5", "R@10"]
    desktop.page.uncheck("#results .check input")
    assert len(shown()) == 6


def test_a_link_to_a_folded_part_opens_it(browser: object, paper: Made) -> None:
    tab = open_tab(browser, paper)
    assert not tab.page.is_visible("#table-configs")
    tab.run("() => { location.hash = 'variants' }")
    tab.page.wait_for_selector("#variants[open]")
    assert tab.page.is_visible("#table-configs") and not tab.page.is_visible("#table-record")


def state(tab: Tab) -> str:
    return tab.page.inner_text("#picks-viewer output")


def anchors(tab: Tab) -> Iterator[None]:
    """Go through all anchors of the viewer with the arrow key."""
    tab.page.focus("#picks-viewer")
    tab.page.keyboard.press("Home")
    for _ in range(int(state(tab).split(" of ")[1].split()[0])):
        yield
        tab.page.keyboard.press("ArrowRight")


def fresh(tab: Tab) -> None:
    tab.page.click("#picks-viewer button[type=reset]")
    tab.page.wait_for_function(
        "() => !document.querySelector('#picks-viewer output').innerText.includes('without filters')"
    )


def test_the_viewer_walks_with_keys_and_buttons(unfolded: Tab) -> None:
    assert state(unfolded) == "Anchor 1 of 120"
    unfolded.page.focus("#picks-viewer")
    for key, place in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", 120), ("Home", 1)):
        unfolded.page.keyboard.press(key)
        assert state(unfolded) == f"Anchor {place} of 120"
    unfolded.page.click("#picks-viewer [data-go=on]")
    assert state(unfolded) == "Anchor 2 of 120"
    unfolded.page.focus("#picks-viewer input[type=search]")
    unfolded.page.keyboard.press("ArrowRight")
    assert state(unfolded) == "Anchor 2 of 120", "within a field the arrows move the cursor"
    sizes = unfolded.run("() => [...document.querySelectorAll('#picks-viewer img')].map(i => i.naturalWidth)")
    assert sizes and all(sizes), "every picture can be drawn"


def test_the_viewer_filters(unfolded: Tab, paper: Made) -> None:
    page = unfolded.page
    data = json.loads(unfolded.run("() => document.getElementById('picks-data').textContent"))
    for box, fits in (
        ("wrong", lambda one: any(pick[-1] == 1 for pick in one["picks"])),
        ("disagree", lambda one: len({pick[1] for pick in one["picks"]}) > 1),
    ):
        fresh(unfolded)
        page.check(f"#picks-viewer [name={box}]")
        requested = sum(map(fits, data["items"]))
        assert 0 < requested < 120 and state(unfolded) == f"Anchor 1 of {requested} (120 without filters)"
    fresh(unfolded)
    page.check("#picks-viewer [name=wrong]")
    for _ in anchors(unfolded):
        assert "false negative" in unfolded.texts("#picks-viewer .tag")
    fresh(unfolded)
    title = paper.results["fne_abstract"].title
    page.select_option("#picks-viewer [name=strategy]", label=title)
    page.select_option("#picks-viewer [name=direction]", label="caption")
    for _ in anchors(unfolded):
        assert page.inner_text("#picks-viewer .card:first-child tr.chosen th") == title
        assert page.inner_text("#picks-viewer .anchor h3") == "Anchor: a caption"
    fresh(unfolded)
    page.fill("#picks-viewer [name=words]", "PICTURE 26, caption 0")
    assert 0 < int(state(unfolded).split(" of ")[1].split()[0]) < 120
    for _ in anchors(unfolded):
        assert "picture 26, caption 0" in page.inner_text("#picks-viewer .stage")
    page.fill("#picks-viewer [name=words]", "no such word")
    assert state(unfolded) == "None of 120 anchors fits these filters"
    fresh(unfolded)
    nothing_odd(unfolded)


def test_the_queries_are_filtered_and_searched(unfolded: Tab, paper: Made) -> None:
    page, viewer = unfolded.page, "#queries-viewer"
    data = json.loads(unfolded.run("() => document.getElementById('queries-data').textContent"))

    def shown() -> int:
        words = page.inner_text(f"{viewer} output").split()
        return 0 if words[0] == "None" else int(words[3])

    def expect(fits: Callable[[dict], bool]) -> None:
        requested = sum(map(fits, data["items"]))
        assert 0 < requested < len(data["items"]) and shown() == requested

    assert shown() == len(data["items"])
    method = data["models"].index(paper.results["fne"].title)
    page.select_option(f"{viewer} [name=model]", label=data["models"][method])
    expect(lambda item: method in [model for _, model in item["why"]])
    assert page.inner_text(f"{viewer} .card:first-child h4") == data["models"][method]
    page.check(f"{viewer} [name=matched]")
    firsts = [
        item["rankings"][method]["top"][0][2] for item in data["items"] if method in dict(map(reversed, item["why"]))
    ]
    assert shown() == firsts.count([1]) > 0
    assert "match: exact truth" in page.inner_text(f"{viewer} .card:first-child li:first-child")
    page.click(f"{viewer} button[type=reset]")
    page.wait_for_function(f"() => !document.querySelector('{viewer} output').innerText.includes('without filters')")
    page.select_option(f"{viewer} [name=direction]", label="caption")
    expect(lambda item: item["direction"] == 1)
    page.select_option(f"{viewer} [name=slice]", index=1)
    assert shown() == 0, "the first slice is of images"
    page.select_option(f"{viewer} [name=direction]", label="image")
    expect(lambda item: item["slices"][0] == 0)
    page.click(f"{viewer} button[type=reset]")
    page.fill(f"{viewer} input[type=search]", "PICTURE 7, caption 0")
    assert 0 < shown() < len(data["items"]) and "picture 7, caption 0" in page.inner_text(f"{viewer} .stage")
    page.fill(f"{viewer} input[type=search]", "")
    nothing_odd(unfolded)


def brightness(tab: Tab) -> float:
    return tab.run("() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3))")


def test_the_viewer_of_a_notebook_runs_in_its_frame(browser: object, hostile: Made) -> None:
    page = browser.new_context(viewport=DESKTOP).new_page()
    tab = Tab(page)
    page.on("console", lambda message: tab.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: tab.said.append(f"error: {error}"))
    page.set_content("<!doctype html>" + hostile.results.show_picks()._repr_html_())
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="Next").click()
    assert frame.locator("output").inner_text().startswith("Anchor 2 of ")
    assert frame.locator(".card img").count() >= 1 and tab.said == []
    assert "null" in page.frames[1].evaluate("() => origin"), "the frame reaches nothing outside"


def test_light_and_dark(browser: object, paper: Made, desktop: Tab) -> None:
    assert brightness(desktop) > 200 and desktop.page.inner_text("#theme") == "Dark page"
    dark = open_tab(browser, paper, color_scheme="dark")
    assert brightness(dark) < 60
    ink = "() => getComputedStyle(document.querySelector('#contrasts svg text')).fill"
    assert dark.run(ink) != desktop.run(ink), "the figures turn with the page"
    dark.page.click("#theme")
    assert brightness(dark) > 200
    dark.page.reload()
    assert brightness(dark) > 200, "what the reader chose is kept"
    dark.page.click("#theme")
    assert brightness(dark) < 60
    assert axe(dark) == []
    dark.page.emulate_media(media="print")
    assert dark.run("() => getComputedStyle(document.documentElement).colorScheme") == "light"
    assert not dark.page.is_visible("#theme") and dark.page.is_visible("#table-main")
    assert dark.said == []


def test_a_phone_never_scrolls_the_page_sideways(phone: Tab) -> None:
    for place in ("contrasts", "results", "queries", "picks", "variants", "record"):
        phone.run("id => document.getElementById(id).scrollIntoView()", place)
        assert phone.run("() => document.documentElement.scrollWidth") <= PHONE["width"], place
    assert phone.page.is_visible("#picks-viewer .card") and phone.page.is_visible("#table-main")
    nothing_odd(phone)


def test_on_a_phone_the_primary_metric_and_the_difference_are_seen_without_scrolling_sideways(phone: Tab) -> None:
    right = "s => Math.max(...[...document.querySelectorAll(s)].map(e => e.getBoundingClientRect().right))"
    for table, place in (("table-main", 9), ("table-contrasts-primary", 4)):
        phone.run("id => document.getElementById(id).scrollIntoView()", table)
        assert phone.run(right, f"#{table} tbody tr > :nth-child({place})") <= PHONE["width"], table


def test_the_first_screen_holds_the_answer_and_the_verdicts_and_the_rest_is_folded(
    browser: object, paper: Made
) -> None:
    tab = open_tab(browser, paper)
    top = "s => document.querySelector(s).getBoundingClientRect().top"
    assert tab.run(top, ".answer") < tab.run(top, "#table-contrasts-primary") < DESKTOP["height"]
    assert tab.run(top, "#figure-contrasts") < DESKTOP["height"]
    assert tab.run("() => document.documentElement.scrollHeight") < 6000
    assert len(tab.page.inner_text("body").split()) < 1500


def axe(tab: Tab) -> list[str]:
    """Serious and critical findings of axe-core."""
    if not AXE.is_file():
        pytest.skip("browser: no axe-core (in tests/report: npm install --no-package-lock --ignore-scripts)")
    result = tab.run(AXE.read_text("utf-8") + "; axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{item['impact']} {item['id']}: {item['help']}; {[node['target'] for node in item['nodes'][:3]]}"
        for item in result
        if item["impact"] in ("serious", "critical")
    ]


def test_accessible_with_everything_unfolded(desktop: Tab) -> None:
    unfold(desktop)
    assert axe(desktop) == []


def test_without_scripts_the_tables_and_figures_are_there(browser: object, paper: Made) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((paper.reports / "report.html").as_uri())
    assert page.locator("#table-main tbody tr").count() == 10 and page.is_visible("#table-main")
    assert page.is_visible("#figure-contrasts svg")
    page.click("#picks > summary")
    assert "The viewer needs JavaScript" in page.inner_text("#picks")
    assert not page.is_visible("#picks-viewer") and not page.is_visible("#theme")


def test_hostile_words_are_shown_and_never_run(attacked: Tab) -> None:
    unfold(attacked)
    assert HOSTILE in attacked.page.inner_text("#table-main")
    seen, names = set(), set()
    for _ in anchors(attacked):
        seen.update(attacked.texts("#picks-viewer .pair p"))
        names.update(attacked.run("() => [...document.querySelectorAll('#picks-viewer img')].map(i => i.title)"))
        assert attacked.run(
            "() => [...document.querySelectorAll('#picks-viewer img')].every(i => i.src.startsWith('data:'))"
        )
    assert seen == {clean(HOSTILE_CAPTION)}
    assert names and all(clean(HOSTILE_NAME) in name for name in names)
    seen.update(attacked.texts("#queries-viewer .pair > p, #queries-viewer li p:first-child"))
    assert seen == {clean(HOSTILE_CAPTION)}
    assert attacked.run("() => document.querySelectorAll('.viewer script, .viewer b, svg script').length") == 0
    nothing_odd(attacked)
