"use strict";
// Sorting: a click, or Enter or Space on a header; numbers by value, empty cells last.
const value = (cell, kind) => {
  const text = cell.firstChild ? cell.firstChild.textContent.trim() : "";
  return kind === "number" ? parseFloat(text.replace("−", "-")) : text.toLowerCase();
};
const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
for (const button of document.querySelectorAll("table.sortable button[data-sort]")) {
  button.addEventListener("click", () => {
    const header = button.closest("th"), body = button.closest("table").tBodies[0];
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of header.parentElement.children) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = Array.from(body.rows, row => [value(row.cells[header.cellIndex], button.dataset.sort), row]);
    const missing = entry => Number.isNaN(entry[0]) || entry[0] === "";
    rows.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : (down ? -1 : 1) * compare(a[0], b[0])));
    body.append(...rows.map(entry => entry[1]));
  });
}
// Listening: one player at a time; within a clip the next player goes on where the last one was.
let last = null;
for (const audio of document.querySelectorAll("audio")) {
  audio.addEventListener("play", () => {
    const keep = document.getElementById("keep").checked;
    if (last && last !== audio) {
      const same = last.closest(".clip") === audio.closest(".clip");
      if (keep && same && !last.ended && last.currentTime < audio.duration) audio.currentTime = last.currentTime;
      last.pause();
    }
    last = audio;
  });
}
