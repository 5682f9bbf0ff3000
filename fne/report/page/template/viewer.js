// The picks viewer. Captions, ids and titles are other people's words: they are set as text, never as markup.
const source = document.getElementById("picks-data");
const viewer = document.getElementById("viewer");

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

if (source && viewer) {
  const data = JSON.parse(source.textContent);
  const form = viewer.querySelector("form");
  const [stage, state] = [viewer.querySelector(".stage"), viewer.querySelector("output")];
  const [first, back, on, last] = ["first", "back", "on", "last"].map((name) => viewer.querySelector(`[data-go=${name}]`));
  const IMAGE = 0; // direction: the anchor is an image and picks are captions; otherwise the other way round
  const TRUTH = { "1": "false negative", "0": "true negative", "-1": "truth not known" };
  const [STRATEGY, PICKED, SIMILARITY, POSITIVE, POSTERIOR, WEIGHT, QUEUED, AGE, FALSE] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  let found = [];
  let place = 0;

  const captionOf = (direction, item) => direction === IMAGE ? data.captions[item][0] : data.captions[data.images[item][1]][0];
  const anchorCaption = (anchor) => captionOf(1 - anchor.direction, anchor.anchor);
  for (const anchor of data.anchors) {
    anchor.captions = [anchorCaption(anchor), ...anchor.picks.map((pick) => captionOf(anchor.direction, pick[PICKED]))].map((words) => words.toLowerCase());
    anchor.disagree = new Set(anchor.picks.map((pick) => pick[PICKED])).size > 1;
  }

  const number = (value, digits) => value === null ? "–" : (Math.abs(value) > 0 && Math.abs(value) < 0.5 * 10 ** -digits ? value.toExponential(1) : value.toFixed(digits)).replace("-", "−");

  function picture(image, asked) {
    const [picked, caption, id] = data.images[image];
    if (picked === null) return make("p", { class: "no-picture" }, `Picture ${id} could not be read.`);
    const words = `${asked ? "Image" : "Image of the caption"}: ${data.captions[caption][0]}`;
    return make("img", { src: data.pictures[picked], alt: words, title: id, class: asked ? "asked" : "aside" });
  }

  // An image with its first caption, or a caption with its image: what took part stands out, its partner is paler.
  function pair(item, isImage) {
    const image = isImage ? item : data.captions[item][1];
    const caption = isImage ? data.images[item][1] : item;
    return make("div", { class: "pair" }, picture(image, isImage),
      make("p", { class: isImage ? "aside" : "asked" }, data.captions[caption][0]));
  }

  function row(pick) {
    const [, title, ink] = data.strategies[pick[STRATEGY]];
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = ink;
    const memory = pick[QUEUED] ? (pick[AGE] === null ? "memory" : `memory, ${pick[AGE]}`) : "batch";
    return make("tr", {}, make("th", { scope: "row" }, swatch, title),
      make("td", {}, number(pick[SIMILARITY], 2)), make("td", {}, number(pick[POSITIVE], 2)),
      make("td", {}, number(pick[POSTERIOR], 4)), make("td", {}, number(pick[WEIGHT], 3)), make("td", { class: "text" }, memory));
  }

  const HEADS = [["strategy", ""], ["similarity", "between anchor and pick"], ["own pair", "similarity of the anchor and its own positive"],
    ["posterior", "probability of a false negative that the strategy computed"], ["weight", "sampling or loss weight of the pick"], ["from", "the batch, or the memory and how many steps ago it entered"]];

  function card(anchor, picks) {
    const isImage = anchor.direction !== IMAGE;
    const truths = picks.map((pick) => pick[FALSE]);
    const truth = Math.max(...truths);
    const head = make("tr", {}, ...HEADS.map(([name, help], column) =>
      make("th", { scope: "col", title: help, class: column === 0 || column === HEADS.length - 1 ? "text" : "" }, name)));
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...picks.map(row)));
    const many = picks.length;
    return make("article", { class: `card truth${truth}` },
      make("h4", {}, make("span", { class: `tag truth${truth}` }, TRUTH[truth]),
        ` picked by ${many === 1 ? "one strategy" : `${many} strategies`}`),
      pair(picks[0][PICKED], isImage),
      make("div", { class: "scroll", role: "group", tabIndex: 0, "aria-label": "Who picked it" }, table));
  }

  function show() {
    place = Math.min(Math.max(place, 0), found.length - 1);
    for (const button of [first, back]) button.disabled = place <= 0;
    for (const button of [on, last]) button.disabled = place >= found.length - 1;
    if (!found.length) {
      state.textContent = `None of ${data.anchors.length} anchors fits these filters`;
      stage.replaceChildren();
      return;
    }
    state.textContent = `Anchor ${place + 1} of ${found.length}` + (found.length < data.anchors.length ? ` (${data.anchors.length} without filters)` : "");
    const anchor = found[place];
    const groups = new Map();
    for (const pick of anchor.picks) groups.set(pick[PICKED], [...(groups.get(pick[PICKED]) ?? []), pick]);
    const chosen = form.elements.strategy.value;
    const mine = (picks) => chosen !== "" && picks.some((pick) => String(pick[STRATEGY]) === chosen) ? 1 : 0;
    const ordered = [...groups.values()].sort((a, b) => mine(b) - mine(a) || b.length - a.length);
    const agreed = groups.size === 1 ? (anchor.picks.length === 1 ? "One strategy picked for it" : "All strategies picked the same") : `The strategies picked ${groups.size} different negatives`;
    const isImage = anchor.direction === IMAGE;
    stage.replaceChildren(
      make("section", { class: "anchor", "aria-label": "Anchor" },
        make("h3", {}, isImage ? "Anchor: an image" : "Anchor: a caption"), pair(anchor.anchor, isImage),
        make("p", { class: "how" }, `Seed ${anchor.seed}, epoch ${anchor.epoch}, step ${anchor.step}. Drawn ${data.kinds[anchor.kind]}.`)),
      make("section", { class: "negatives", "aria-label": "Picked negatives" }, make("h3", {}, agreed),
        make("div", { class: "cards" }, ...ordered.map((picks) => card(anchor, picks)))));
    for (const line of stage.querySelectorAll("tbody tr")) {
      if (chosen !== "" && line.firstChild.textContent === data.strategies[chosen][1]) line.className = "chosen";
    }
  }

  function filter() {
    const { words, strategy, direction, wrong, disagree } = form.elements;
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = data.anchors.filter((anchor) => {
      const picks = strategy.value === "" ? anchor.picks : anchor.picks.filter((pick) => String(pick[STRATEGY]) === strategy.value);
      return picks.length > 0
        && (direction.value === "" || String(anchor.direction) === direction.value)
        && (!wrong.checked || picks.some((pick) => pick[FALSE] === 1))
        && (!disagree.checked || anchor.disagree)
        && anchor.captions.some((caption) => wanted.every((word) => caption.includes(word)));
    });
    place = 0;
    show();
  }

  const go = (to) => { place = to; show(); };
  data.strategies.forEach(([, title], at) => form.elements.strategy.append(make("option", { value: String(at) }, title)));
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  first.addEventListener("click", () => go(0));
  back.addEventListener("click", () => go(place - 1));
  on.addEventListener("click", () => go(place + 1));
  last.addEventListener("click", () => go(found.length - 1));
  viewer.addEventListener("keydown", (event) => {
    // Within a field the arrows belong to the field.
    if (event.target.closest("input, select, .scroll") || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: found.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  viewer.hidden = false;
  filter();
}
