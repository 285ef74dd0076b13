// Elements made and kept up to date. Text is only ever text: nothing here, or anywhere on the page, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

function assemble(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const make = (tag, attributes = {}, ...children) =>
  assemble(document.createElement(tag), attributes, children);

export const draw = (tag, attributes = {}, ...children) =>
  assemble(document.createElementNS(SVG, tag), attributes, children);

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

// Brings a table's body to these rows, by key, so that what is selected or hovered stays. A row is
// {key, cells: [{text, parts, class, head, title}], class}: `parts` are elements, compared by what they say.
export function fill(body, rows) {
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  rows.forEach((wanted, index) => {
    const row = known.get(wanted.key) ?? make("tr", { "data-key": wanted.key });
    known.delete(wanted.key);
    row.className = wanted.class ?? "";
    wanted.cells.forEach((cell, place) => fillCell(row, place, cell));
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  for (const row of known.values()) row.remove();
}

function fillCell(row, place, cell) {
  let element = row.cells[place];
  if (!element) {
    element = make(cell.head ? "th" : "td", cell.head ? { scope: "row" } : {});
    row.append(element);
  }
  const name = cell.class ?? "";
  if (element.className !== name) element.className = name;
  if (cell.parts) {
    const fresh = make(element.tagName, {}, ...cell.parts).childNodes;
    const same = fresh.length === element.childNodes.length &&
      [...fresh].every((node, index) => node.isEqualNode(element.childNodes[index]));
    if (!same) element.replaceChildren(...fresh);
  } else {
    say(element, cell.text);
  }
}
