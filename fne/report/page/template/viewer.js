// The viewers of picks and of queries. Captions, ids and titles are other people's words: set as text, never as markup.
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

const IMAGE = 0; // direction: the anchor or query is an image, the others are captions; otherwise the other way round
const number = (value, digits) => value === null ? "–" : (Math.abs(value) > 0 && Math.abs(value) < 0.5 * 10 ** -digits ? value.toExponential(1) : value.toFixed(digits)).replace("-", "−");
const chosen = (form, name) => form.elements[name].value === "" ? null : Number(form.elements[name].value);
const option = (title, value) => make("option", { value: String(value) }, title);

function picture(data, image, asked) {
  const [picked, caption, id] = data.images[image];
  if (picked === null) return make("p", { class: "no-picture" }, `Image ${id} could not be read.`);
  const words = `${asked ? "Image" : "Image of the caption"}: ${data.captions[caption][0]}`;
  return make("img", { src: data.pictures[picked], alt: words, title: id, class: asked ? "asked" : "aside" });
}

// An image with its first caption, or a caption with its image: what took part stands out, its partner is paler.
function pair(data, item, isImage, ...more) {
  const image = isImage ? item : data.captions[item][1];
  const caption = isImage ? data.images[item][1] : item;
  const words = make("p", { class: isImage ? "aside" : "asked" }, data.captions[caption][0]);
  return make("div", { class: "pair" }, picture(data, image, isImage), more.length ? make("div", {}, words, ...more) : words);
}

const captionOf = (data, item, isImage) => data.captions[isImage ? data.images[item][1] : item][0];

// What each kind of viewer shows of an item, which items its own filters keep, and which captions are searched.
const picks = {
  noun: "Anchor",
  start(data, form) {
    data.strategies.forEach(([, title], at) => form.elements.strategy.append(option(title, at)));
    for (const anchor of data.items) anchor.disagree = new Set(anchor.picks.map((pick) => pick[this.PICKED])).size > 1;
  },
  words: (data, anchor) => [captionOf(data, anchor.item, anchor.direction === IMAGE), ...anchor.picks.map((pick) => captionOf(data, pick[picks.PICKED], anchor.direction !== IMAGE))],
  fits(data, anchor, form) {
    const strategy = chosen(form, "strategy");
    const mine = strategy === null ? anchor.picks : anchor.picks.filter((pick) => pick[this.STRATEGY] === strategy);
    return mine.length > 0
      && (!form.elements.wrong.checked || mine.some((pick) => pick[this.FALSE] === 1))
      && (!form.elements.disagree.checked || anchor.disagree);
  },
  TRUTH: { "1": "false negative", "0": "true negative", "-1": "truth not known" },
  STRATEGY: 0, PICKED: 1, SIMILARITY: 2, POSITIVE: 3, POSTERIOR: 4, WEIGHT: 5, QUEUED: 6, AGE: 7, FALSE: 8,
  HEADS: [["strategy", ""], ["similarity", "between anchor and pick"], ["own pair", "similarity of the anchor and its own positive"],
    ["posterior", "probability of a false negative that the strategy computed"], ["weight", "sampling or loss weight of the pick"], ["from", "the batch, or the memory and how many steps ago it entered"]],

  row(data, pick, isChosen) {
    const [, title, ink] = data.strategies[pick[this.STRATEGY]];
    const swatch = make("span", { class: "swatch" });
    swatch.style.background = ink;
    const memory = pick[this.QUEUED] ? (pick[this.AGE] === null ? "memory" : `memory, ${pick[this.AGE]}`) : "batch";
    return make("tr", { class: isChosen ? "chosen" : "" }, make("th", { scope: "row" }, swatch, title),
      make("td", {}, number(pick[this.SIMILARITY], 2)), make("td", {}, number(pick[this.POSITIVE], 2)),
      make("td", {}, number(pick[this.POSTERIOR], 4)), make("td", {}, number(pick[this.WEIGHT], 3)), make("td", { class: "text" }, memory));
  },

  card(data, anchor, mine, strategy) {
    const truth = Math.max(...mine.map((pick) => pick[this.FALSE]));
    const head = make("tr", {}, ...this.HEADS.map(([name, help], column) =>
      make("th", { scope: "col", title: help, class: column === 0 || column === this.HEADS.length - 1 ? "text" : "" }, name)));
    const rows = mine.map((pick) => this.row(data, pick, pick[this.STRATEGY] === strategy));
    const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
    return make("article", { class: `card truth${truth}` },
      make("h4", {}, make("span", { class: `tag truth${truth}` }, this.TRUTH[truth]),
        ` picked by ${mine.length === 1 ? "one strategy" : `${mine.length} strategies`}`),
      pair(data, mine[0][this.PICKED], anchor.direction !== IMAGE),
      make("div", { class: "scroll", role: "group", tabIndex: 0, "aria-label": "Who picked it" }, table));
  },

  show(data, anchor, form) {
    const groups = new Map();
    for (const pick of anchor.picks) groups.set(pick[this.PICKED], [...(groups.get(pick[this.PICKED]) ?? []), pick]);
    const strategy = chosen(form, "strategy");
    const has = (mine) => mine.some((pick) => pick[this.STRATEGY] === strategy) ? 1 : 0;
    const ordered = [...groups.values()].sort((a, b) => has(b) - has(a) || b.length - a.length);
    const agreed = groups.size === 1 ? (anchor.picks.length === 1 ? "One strategy picked for it" : "All strategies picked the same") : `The strategies picked ${groups.size} different negatives`;
    return {
      how: [`Seed ${anchor.seed}, epoch ${anchor.epoch}, step ${anchor.step}. Drawn ${data.kinds[anchor.kind]}.`],
      title: agreed, label: "Picked negatives", cards: ordered.map((mine) => this.card(data, anchor, mine, strategy)),
    };
  },
};

const queries = {
  noun: "Query",
  start(data, form) {
    data.models.forEach((title, at) => form.elements.model.append(option(title, at)));
    data.slices.forEach(({ name, parts }, at) => form.elements.slice.append(
      make("optgroup", { label: name }, ...parts.map((words, place) => option(words, `${at} ${place}`)))));
    form.elements.matched.closest("label").hidden = data.sources.length < 2;
  },
  words: (data, query) => [captionOf(data, query.item, query.direction === IMAGE), ...query.rankings.flatMap((ranking) => ranking.top.map(([item]) => captionOf(data, item, query.direction !== IMAGE)))],
  // The first item is known to match, by a source of truth other than being the own pair.
  matched: (ranking) => ranking.top.length > 0 && ranking.top[0][2].length > 0 && ranking.top[0][2][0] > 0,
  fits(data, query, form) {
    const model = chosen(form, "model");
    const shown = query.rankings.filter((_, at) => model === null || at === model);
    const [slice, part] = form.elements.slice.value.split(" ");
    return (model === null || query.why.some(([, of]) => of === model))
      && (!form.elements.matched.checked || shown.some(this.matched))
      && (slice === "" || query.slices[slice] === Number(part));
  },

  ranked(data, query, [item, score, marks], at) {
    const own = marks[0] === 0;
    const verdict = own ? "own pair" : marks.length ? `match: ${marks.map((source) => data.sources[source]).join(", ")}` : data.complete ? "no match" : "not known to match";
    const tag = make("span", { class: `tag ${own ? "own" : marks.length ? "truth1" : data.complete ? "truth0" : "truth-1"}` }, verdict);
    const facts = make("p", { class: "facts" }, tag, score === null ? null : ` similarity ${number(score, 3)}`);
    const line = pair(data, item, query.direction !== IMAGE, facts);
    return make("li", {}, make("span", { class: "place", "aria-hidden": "true" }, String(at + 1)), line);
  },

  card(data, query, model) {
    const { own, match, top } = query.rankings[model];
    const size = data.gallery[query.direction].toLocaleString("en");
    const rank = (value) => value === null ? "at a rank that is not known" : `at rank ${value.toLocaleString("en")}`;
    const other = query.direction === IMAGE ? "caption" : "image";
    const lines = [`Own ${other} ${rank(own)} of ${size}`, ...(match === undefined ? [] : [`first known match ${rank(match)}`])];
    return make("article", { class: "card" }, make("h4", {}, make("strong", {}, data.models[model])),
      make("p", { class: "how" }, `${lines.join("; ")}.`),
      make("ol", { class: "ranked" }, ...top.map((entry, at) => this.ranked(data, query, entry, at))));
  },

  show(data, query, form) {
    const model = chosen(form, "model");
    const order = data.models.map((_, at) => at).sort((a, b) => (b === model) - (a === model));
    const of = (kind) => query.why.filter(([each]) => each === kind).map(([, at]) => data.models[at]).join(" and ");
    return {
      how: Object.keys(data.kinds).filter(of).map((kind) => `Among ${data.kinds[kind]}: ${of(kind)}.`),
      title: "Ranked first", label: "Ranked first", cards: order.map((at) => this.card(data, query, at)),
    };
  },
};

function start(viewer, kind) {
  const data = JSON.parse(document.getElementById(`${viewer.dataset.kind}-data`).textContent);
  const form = viewer.querySelector("form");
  const [stage, state] = [viewer.querySelector(".stage"), viewer.querySelector("output")];
  const [first, back, on, last] = ["first", "back", "on", "last"].map((name) => viewer.querySelector(`[data-go=${name}]`));
  let kept = [];
  let place = 0;

  kind.start(data, form);
  for (const item of data.items) item.captions = kind.words(data, item).map((words) => words.toLowerCase());

  function show() {
    place = Math.min(Math.max(place, 0), kept.length - 1);
    for (const button of [first, back]) button.disabled = place <= 0;
    for (const button of [on, last]) button.disabled = place >= kept.length - 1;
    if (!kept.length) {
      state.textContent = `None of ${data.items.length} ${viewer.dataset.nouns} fits these filters`;
      stage.replaceChildren();
      return;
    }
    state.textContent = `${kind.noun} ${place + 1} of ${kept.length}` + (kept.length < data.items.length ? ` (${data.items.length} without filters)` : "");
    const item = kept[place];
    const isImage = item.direction === IMAGE;
    const { how, title, label, cards } = kind.show(data, item, form);
    stage.replaceChildren(
      make("section", { class: "anchor", "aria-label": kind.noun },
        make("h3", {}, `${kind.noun}: ${isImage ? "an image" : "a caption"}`), pair(data, item.item, isImage),
        ...how.map((words) => make("p", { class: "how" }, words))),
      make("section", { "aria-label": label }, make("h3", {}, title), make("div", { class: "cards" }, ...cards)));
  }

  function filter() {
    const { words, direction } = form.elements;
    const searched = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    kept = data.items.filter((item) => (direction.value === "" || String(item.direction) === direction.value)
      && kind.fits(data, item, form)
      && item.captions.some((caption) => searched.every((word) => caption.includes(word))));
    place = 0;
    show();
  }

  const go = (to) => { place = to; show(); };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  first.addEventListener("click", () => go(0));
  back.addEventListener("click", () => go(place - 1));
  on.addEventListener("click", () => go(place + 1));
  last.addEventListener("click", () => go(kept.length - 1));
  viewer.addEventListener("keydown", (event) => {
    // Within a field the arrows belong to the field.
    if (event.target.closest("input, select, .scroll") || event.altKey || event.ctrlKey || event.metaKey) return;
    const to = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: kept.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  viewer.hidden = false;
  filter();
}

for (const viewer of document.querySelectorAll(".viewer")) start(viewer, { picks, queries }[viewer.dataset.kind]);
