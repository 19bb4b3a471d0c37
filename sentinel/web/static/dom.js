// SPDX-FileCopyrightText: the Sentinel authors
// SPDX-License-Identifier: Apache-2.0
// The page is built from nodes and text only: no markup is ever parsed, so data cannot become any.

export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function drawing(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, String(value));
  }
  made.append(...children.filter((each) => each !== null && each !== undefined));
  return made;
}

// A value of others: set apart, so that its direction of writing ends where it ends.
export function data(text, cls = "") {
  return element("bdi", cls ? { class: cls } : {}, text);
}

export function lines(...children) {
  return children.filter(Boolean).map((each) => element("div", {}, each));
}

function cells(columns, item) {
  return columns.map((column) => {
    const content = column.cell(item);
    const name = column.head ? "th" : "td";
    return element(name, { class: column.cls, scope: column.head ? "row" : null, "data-label": column.label },
      ...(Array.isArray(content) ? content : [content]));
  });
}

// A table that keeps its rows: an unchanged row keeps its nodes, and with them focus, selection and what is unfolded.
export class Table {
  constructor(place, { caption, columns, key, empty }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = element("tbody");
    this.table = element("table", {}, element("caption", { class: "hidden" }, caption),
      element("thead", {}, element("tr", {}, ...columns.map((each) => element("th", { scope: "col", class: each.cls }, each.label)))),
      this.body);
    this.note = element("p", { class: "empty" }, empty);
    place.replaceChildren(this.note, this.table);
    this.show([]);
  }

  show(items) {
    this.note.hidden = items.length > 0;
    this.table.hidden = items.length === 0;
    const kept = new Map();
    const order = [];
    for (const item of items) {
      const key = this.key(item);
      if (kept.has(key)) continue;
      const sign = JSON.stringify(item);
      const old = this.rows.get(key);
      const row = old && old.sign === sign ? old : { sign, node: this.build(key, item, old?.node) };
      kept.set(key, row);
      order.push(row.node);
    }
    this.rows = kept;
    this.place(order);
  }

  build(key, item, old) {
    const node = element("tr", {}, ...cells(this.columns, item));
    if (old) {
      const unfolded = [...old.querySelectorAll("details")].map((each) => each.open);
      node.querySelectorAll("details").forEach((each, index) => { each.open = unfolded[index] ?? false; });
      const action = old.contains(document.activeElement) ? document.activeElement.dataset.action : null;
      old.replaceWith(node);
      if (action) [...node.querySelectorAll("[data-action]")].find((each) => each.dataset.action === action)?.focus();
    }
    return node;
  }

  place(order) {
    for (const node of [...this.body.children]) if (!order.includes(node)) node.remove();
    order.forEach((node, index) => {
      if (this.body.children[index] !== node) this.body.insertBefore(node, this.body.children[index] ?? null);
    });
  }
}
