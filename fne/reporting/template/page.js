// Sort a table by the column whose heading is pressed; cells without a number stay at the end.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : head.classList.contains("text");
    const key = (row) => {
      const cell = row.cells[column];
      return "sort" in cell.dataset ? Number(cell.dataset.sort) : head.classList.contains("text") ? cell.textContent : null;
    };
    const compare = (a, b) => (a === null) - (b === null) || (typeof a === "string" ? a.localeCompare(b) : a - b) * (up ? 1 : -1);
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((first, second) => compare(key(first), key(second))));
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  }));
}
