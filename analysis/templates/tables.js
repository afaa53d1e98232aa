// Tables: sorted by a header (a click, Enter or Space), filtered by words and by values. A table is read once and kept as texts. Of
// thousands of rows those are laid out that one has scrolled to, since the layout is what takes time.
const BATCH = 300;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const first = cell => (cell.firstChild ? cell.firstChild.textContent.trim() : "");
const plain = text => text.replaceAll("−", "-");
const element = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

function setUp(table) {
  const headers = Array.from(table.tHead.rows[0].cells), body = table.tBodies[0];
  const box = table.closest(".scroll"), state = { words: [], chosen: new Map(), show };
  let kept = [], entries = Array.from(body.rows, row => ({
    row, texts: Array.from(row.cells, first), all: plain(Array.from(row.cells, cell => cell.textContent).join("\n").toLowerCase()),
  }));

  function matches(entry) {
    for (const [column, text] of state.chosen) if (entry.texts[column] !== text) return false;
    return state.words.every(word => entry.all.includes(word));
  }

  function show() {
    kept = entries.filter(matches);
    body.replaceChildren();
    more();
    return kept.length;
  }

  function more(most = BATCH) {
    const rows = document.createDocumentFragment(), from = body.rows.length;
    for (const entry of kept.slice(from, from + most)) rows.append(entry.row);
    body.append(rows);
  }

  function sort(header, kind) {
    const column = header.cellIndex, down = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of headers) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", down < 0 ? "descending" : "ascending");
    const keyed = entries.map(entry => [kind === "number" ? parseFloat(plain(entry.texts[column])) : entry.texts[column], entry]);
    const missing = key => Number.isNaN(key) || key === "";
    const order = kind === "number" ? (a, b) => a - b : collator.compare;
    keyed.sort(([a], [b]) => missing(a) - missing(b) || (missing(a) ? 0 : down * order(a, b)));  // what is empty comes last either way
    entries = keyed.map(([, entry]) => entry);
    show();
    box.scrollTop = 0;
  }

  for (const header of headers) {
    const button = header.querySelector("button[data-sort]");
    if (button) button.addEventListener("click", () => sort(header, button.dataset.sort));
  }
  box.addEventListener("scroll", () => { if (box.scrollTop + 2 * box.clientHeight > box.scrollHeight) more(); });
  addEventListener("beforeprint", () => more(Infinity));
  if (table.dataset.filter) addFilter(table, headers, entries, state);
  show();
}

function choices(header, entries) {
  const texts = Array.from(new Set(entries.map(entry => entry.texts[header.cellIndex]))).sort(collator.compare);
  if (texts.length < 2 || texts.length > 12) return null;
  const select = element("select", {}, new Option("any", "any"), ...texts.map((text, i) => new Option(text || "(none)", String(i))));
  return { select, text: () => texts[Number(select.value)], label: element("label", {}, header.dataset.choose, select) };
}

function addFilter(table, headers, entries, state) {
  const noun = table.dataset.filter, total = entries.length;
  const field = element("input", { type: "search", placeholder: "all words must match", autocomplete: "off", spellcheck: false });
  const lists = headers.filter(header => header.dataset.choose).map(header => [header, choices(header, entries)]).filter(([, list]) => list);
  const count = element("output", {}), clear = element("button", { type: "button", textContent: "Clear", hidden: true });
  count.setAttribute("aria-live", "polite");
  const form = element("form", { className: "filter" }, element("label", {}, `Filter ${noun}s`, field), ...lists.map(([, list]) => list.label), clear, count);

  function update() {
    state.words = plain(field.value.toLowerCase()).split(/\s+/).filter(Boolean);
    state.chosen = new Map(lists.filter(([, list]) => list.select.value !== "any").map(([header, list]) => [header.cellIndex, list.text()]));
    clear.hidden = !state.words.length && !state.chosen.size;
    count.textContent = `${state.show()} of ${total} ${noun}${total === 1 ? "" : "s"} shown`;
  }

  function reset() {
    field.value = "";
    for (const [, list] of lists) list.select.value = "any";
    update();
    field.focus();
  }

  form.addEventListener("input", update);
  form.addEventListener("change", update);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("keydown", event => { if (event.key === "Escape") { event.preventDefault(); reset(); } });
  clear.addEventListener("click", reset);
  table.closest(".scroll").before(form);
  count.textContent = `${total} of ${total} ${noun}${total === 1 ? "" : "s"} shown`;
}

document.querySelectorAll("table.sortable").forEach(setUp);
