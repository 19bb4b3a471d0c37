// SPDX-FileCopyrightText: the Sentinel authors
// SPDX-License-Identifier: Apache-2.0
// Top talkers of the last minute and how they went, by whatever keys and filter one asks for.

import { ApiError, at, get } from "./api.js";
import { Table, data, drawing, element, lines } from "./dom.js";
import { bits, bytes, clock, number, percent, protocol, safe } from "./text.js";

const KEYS = ["agent", "input", "output", "src_ip", "dst_ip", "protocol", "src_port", "dst_port", "vni"];
const GROUPED = ["src_ip", "dst_ip"];
const SHOWN = 15;
const DRAWN = 5;
const PAUSE_MS = 3000;
const WIDTH = 600;
const HEIGHT = 100;
const NUMBERS = new Set(["input", "output", "protocol", "src_port", "dst_port", "vni"]);
const EMPTY = "No sampled flow passes. Without a filter that means that no flow sample has arrived in this time: is an agent heard (below), is it sampling?";

// What was typed as the query of a URL; throws where it cannot be one.
export function asQuery(form) {
  const query = new URLSearchParams({ metric: form.metric, seconds: form.seconds, limit: SHOWN, series: DRAWN });
  if (form.group.length === 0) throw new Error("Group by at least one key.");
  query.set("group", form.group.join(","));
  for (const word of form.filter.split(/[\s&]+/u).filter(Boolean)) {
    const cut = word.indexOf("=");
    if (cut < 1) throw new Error(`“${safe(word)}” is no key=value, such as ip=10.1.0.0/16 or dst_port=!53,443`);
    query.append(word.slice(0, cut), word.slice(cut + 1));
  }
  return query;
}

// Values per second of a metric as people read them.
function perSecond(metric, value) {
  return metric === "bytes" ? bits(8 * value) : `${number(Math.round(value))} ${metric}/s`;
}

function keyCell(key, item, names) {
  const value = item[key];
  if (value === null || value === undefined) return "–";
  if (key === "protocol") return data(safe(protocol(value)));
  const name = key === "agent" ? names.get(value) : null;
  return lines(data(safe(value), NUMBERS.has(key) ? "" : "mono"), name ? data(safe(name), "dim") : null);
}

function flowTable(group, names) {
  const keys = group.map((key, index) => ({
    label: key, head: index === 0, cls: NUMBERS.has(key) ? "figure" : "", cell: (item) => keyCell(key, item, names()),
  }));
  return {
    caption: "Groups of flows, the largest first",
    key: (item) => group.map((key) => item[key]).join(" "),
    empty: EMPTY,
    columns: [
      ...keys,
      { label: "Rate", cls: "figure", cell: (item) => [item.drawn === null ? null : element("span", { class: `swatch line-${item.drawn}` }), bits(item.bps)].filter(Boolean) },
      { label: "Bytes", cls: "figure", cell: (item) => bytes(item.bytes) },
      { label: "Packets", cls: "figure", cell: (item) => lines(element("span", {}, number(item.packets),
        item.packets_error_pct === null ? null : element("span", { class: "dim" }, ` ±${Math.ceil(item.packets_error_pct)} %`))) },
      { label: "Samples", cls: "figure", cell: (item) => lines(element("span", {}, number(item.samples)),
        item.agents > 1 || item.samples === 0 ? element("span", { class: "dim" }, `seen by ${number(item.agents)} ${item.agents === 1 ? "agent" : "agents"}`) : null) },
      { label: "First / last (UTC)", cls: "figure", cell: (item) => group.length > 4
        ? lines(clock(item.first_seen), clock(item.last_seen)) : `${clock(item.first_seen)} – ${clock(item.last_seen)}` },
    ],
  };
}

// Areas one upon the other, the largest group at the bottom; a value lasts its second.
export function areas(rows) {
  const count = rows[0]?.values.length ?? 0;
  const floor = new Array(count).fill(0);
  const tops = rows.map((row) => row.values.map((value, second) => { floor[second] += value; return floor[second]; }));
  const peak = Math.max(0, ...floor);
  if (peak === 0) return { peak: 0, second: 0, paths: [] };
  const x = (second) => (WIDTH * second / count).toFixed(1);
  const y = (value) => (HEIGHT * (1 - value / peak)).toFixed(1);
  const paths = rows.map((row, index) => {
    const steps = tops[index].map((value, second) => `L${x(second)} ${y(value)}L${x(second + 1)} ${y(value)}`);
    const below = (index ? tops[index - 1] : new Array(count).fill(0))
      .map((value, second) => `L${x(second + 1)} ${y(value)}L${x(second)} ${y(value)}`).reverse();
    return { cls: row.cls, d: `M${x(0)} ${y(tops[index][0])}${steps.join("")}${below.join("")}Z` };
  });
  return { peak, second: floor.indexOf(peak), paths };
}

function chart(answer, filtered) {
  const { series, metric, window: span } = answer;
  const rows = series.groups.map((each, index) => ({ cls: `line-${index}`, values: each.values }));
  rows.push({ cls: "line-other", values: series.other });
  // No filter sees them, and they are in the count of every agent on their way: beside flows that passed a filter, or
  // that count once, their height would mean nothing.
  const comparable = !filtered && !answer.counted_once;
  if (comparable) rows.push({ cls: "line-unnamed", values: series.unnamed });
  const { peak, second, paths } = areas(rows);
  const when = new Date(Date.parse(span.from) + 1000 * second).toISOString();
  const words = peak ? `peak ${perSecond(metric, peak)} at ${clock(when)} UTC` : "nothing";
  const picture = drawing("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${metric} per second of the last ${span.seconds} s: ${words}` },
  ...paths.map((each) => drawing("path", { class: each.cls, d: each.d })));
  const mark = (cls, text) => element("span", {}, element("span", { class: `swatch ${cls}` }), text);
  return [
    element("p", { class: "dim" }, element("span", {}, words),
      answer.total > series.groups.length ? mark("line-other", "all others") : null,
      comparable ? mark("line-unnamed", "too small to be named") : null),
    picture,
    element("figcaption", { class: "dim" }, element("span", {}, clock(span.from)), element("span", {}, `${clock(span.until)} UTC`)),
  ];
}

// All of these are as every agent counted it, so that they are parts of one whole.
function share(answer, filtered) {
  const { passed, elsewhere, unnamed, all, evicted_samples: evicted } = answer.amounts;
  const part = (value) => percent(all.bytes ? value / all.bytes : 0);
  const words = [];
  if (filtered) words.push(`The filter lets ${part(passed.bytes + elsewhere.bytes)} of all sampled bytes pass.`);
  if (!answer.counted_once) words.push("Every agent counts what passes it: the picture's height has packets that pass several of them several times.");
  if (elsewhere.bytes) words.push(`A pair of hosts counts at the agent that saw most packets of it; ${part(elsewhere.bytes)} of all sampled bytes are of further agents on its way and are not counted again. Group by agent to see them.`);
  if (unnamed.bytes) words.push(`${part(unnamed.bytes)} of all sampled bytes are in flows too small to be named, which no filter or group sees${answer.counted_once ? ", nor this picture" : ""}.`);
  if (evicted) words.push(`Samples that found no row in a full flow table and are not counted: ${number(evicted)}.`);
  return words.join(" ");
}

// The section of the page: what is asked for in its form, asked again as long as it is in sight.
export class Flows {
  constructor(section, names) {
    this.section = section;
    this.names = names;
    this.form = section.querySelector("form");
    this.ready = false;
    this.asking = null;
    this.askedAt = 0;
    this.grouped = "";
    this.form.querySelector("fieldset").append(...KEYS.map((key) => element("label", {},
      element("input", { type: "checkbox", name: "group", value: key, checked: GROUPED.includes(key) }), key)));
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.refresh(); });
    this.form.addEventListener("change", () => this.refresh());
    new IntersectionObserver(() => { if (this.ready) this.look(); }).observe(section);
  }

  // What the page calls whenever something happened: not more often than the answer is worth, and not out of sight.
  look() {
    this.ready = true;
    const { top, bottom } = this.section.getBoundingClientRect();
    const inSight = top < innerHeight && bottom > 0;
    if (inSight && Date.now() - this.askedAt >= PAUSE_MS) this.refresh();
  }

  async refresh() {
    this.askedAt = Date.now();
    const form = new FormData(this.form);
    const filter = form.get("filter");
    try {
      const query = asQuery({ metric: form.get("metric"), seconds: form.get("seconds"), group: form.getAll("group"), filter });
      this.asking?.abort();
      this.asking = new AbortController();
      this.show(await get(`${at("flows")}?${query}`, this.asking.signal), filter.trim() !== "");
      this.problem("");
    } catch (error) {
      // A question that was overtaken, one too many, a token asked for: the page says so, or the next look is answered.
      const passing = error.name === "AbortError" || error instanceof TypeError || (error instanceof ApiError && error.status !== 400);
      if (!passing) this.problem(safe(error.message));
    }
  }

  show(answer, filtered) {
    const grouped = answer.group.join(",");
    if (grouped !== this.grouped) this.table = new Table(this.section.querySelector(".scroll"), flowTable(answer.group, this.names));
    this.grouped = grouped;
    this.table.show(answer.flows.map((each, index) => ({ ...each, drawn: index < DRAWN ? index : null })));
    const some = answer.total > answer.flows.length ? `${number(answer.flows.length)} of ${number(answer.total)} groups` : `${number(answer.total)} groups`;
    this.section.querySelector(".count").textContent = `${some}, last ${number(answer.window.seconds)} s`;
    this.section.querySelector("figure").replaceChildren(...chart(answer, filtered));
    this.section.querySelector(".share").textContent = share(answer, filtered);
  }

  problem(text) {
    const line = this.section.querySelector(".problem");
    line.hidden = !text;
    line.textContent = text;
  }
}
