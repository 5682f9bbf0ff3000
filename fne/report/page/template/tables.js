// Tables that can be sorted, filtered and, where they are long, paged. Without this script they are plain tables.
const { DataTable } = globalThis.tableLibrary;
const [PAGE, FEW] = [25, 12]; // rows of a page; rows that need no filter

// Cells without a number stay at the end, whichever way a column is sorted.
const numbers = (sign) => (a, b) => (a === "") - (b === "") || sign * (Number(a) - Number(b)) || 0;
DataTable.type("number-or-none", { order: { asc: numbers(1), desc: numbers(-1) } });

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead tr:last-child th")];
  for (const cell of table.querySelectorAll("thead .groups > *")) cell.dataset.dtOrder = "disable";
  const rows = table.tBodies[0].rows.length;
  const paged = rows > PAGE;
  const start = { search: { placeholder: "words in any column", text: "Filter: " } };
  const shown = new DataTable(table, {
    order: [],
    autoWidth: false,
    paging: paged,
    pageLength: PAGE,
    lengthMenu: [PAGE, 100, { label: "all", value: -1 }],
    columns: heads.map((head) => head.classList.contains("text") ? { type: "html" } : { type: "number-or-none", orderSequence: ["desc", "asc", ""] }),
    layout: {
      topStart: rows > FEW ? start : null, topEnd: paged ? "pageLength" : null,
      bottomStart: rows > FEW ? "info" : null, bottomEnd: paged ? "paging" : null,
    },
    language: {
      info: "_START_ to _END_ of _TOTAL_ rows", infoEmpty: "no rows", infoFiltered: "(_MAX_ without the filter)",
      zeroRecords: "No row has these words.", lengthMenu: "_MENU_ rows a page",
    },
  });
  if (paged) { // paper has no pages to turn
    addEventListener("beforeprint", () => shown.page.len(-1).draw(false));
    addEventListener("afterprint", () => shown.page.len(PAGE).draw(false));
  }
}
