// SPDX-FileCopyrightText: the Sentinel authors
// SPDX-License-Identifier: Apache-2.0
// What each table shows of its rows, and what it teaches while it has none.

import { data, element, lines } from "./dom.js";
import { bits, bytes, clock, day, number, percent, protocol, rate, safe } from "./text.js";

const ARROWS = { outbound: "→", inbound: "←", both: "↔", transit: "⇢" };
const LIVE = new Set(["wanted", "pending", "queued", "installing", "active", "failed"]);
const TONES = {
  active: "good", ok: "good", installing: "busy", removing: "busy", wanted: "busy", queued: "warn", pending: "warn",
  stale: "warn", quarantined: "warn", degraded: "warn", failed: "bad", failing: "bad", unreachable: "bad", open: "", ended: "dim",
  closed: "dim", delisted: "dim", empty: "warn", planned: "busy",
};

export function badge(word) {
  const text = safe(word);
  return element("span", { class: `badge ${TONES[text] ?? ""}` }, data(text));
}

function time(text) {
  return text ? element("time", { datetime: text, title: day(text) }, clock(text)) : "–";
}

export function button(label, action, subject, run, cls = "") {
  return element("button", { type: "button", "data-action": action, class: cls, "aria-label": `${label}: ${subject}`, onclick: run }, label);
}

function fold(summary, children) {
  return element("details", {}, element("summary", { "data-action": "fold" }, summary), ...children);
}

function indicators(list) {
  const shown = list.map((each) => element("div", { class: "indicator" },
    data(safe(each.feed), "feed"), " ", data(safe(each.group), "dim"), " ", data(safe(each.prefix), "mono dim")));
  return shown.length > 2 ? [...shown.slice(0, 2), fold(`${shown.length - 2} more`, shown.slice(2))] : shown;
}

function observers(item, names) {
  const shown = item.observers.map((each) => element("div", { class: "mono" },
    data(safe(names.get(each.agent) ?? each.agent)),
    ` ${each.input}→${each.output}  ${number(each.samples)} samples`,
    each.capturable ? "" : element("span", { class: "dim" }, each.vni === null ? "  not outermost" : `  inside vni ${each.vni}`)));
  const total = item.observers_total;
  if (total <= 1) return shown;
  return [shown[0], fold(`${total - 1} more`, [...shown.slice(1),
    total > shown.length ? element("div", { class: "dim" }, `and ${total - shown.length} not shown`) : null].filter(Boolean))];
}

// In the order of the pair above: the local side's port first.
function ports(item) {
  const [local, listed] = item.src_ip === item.local_ip ? [item.src_port, item.dst_port] : [item.dst_port, item.src_port];
  return protocol(item.protocol) + (local === null || listed === null ? "" : ` ${local} – ${listed}`);
}

export function detectionTable(actions, names) {
  return {
    caption: "Detections, latest seen first",
    key: (item) => item.id,
    empty: "No host here has been seen talking with a listed address. If you expected one: is an agent heard (below), is it sampling, " +
      "and does “sentinel lookup ADDRESS” say that the address is listed?",
    columns: [
      { label: "Who", head: true, cell: (item) => lines(
        element("span", { class: "pair" }, data(safe(item.local_ip), "mono"),
          element("span", { class: "arrow", title: item.direction, "aria-label": `${item.direction} with` }, ` ${ARROWS[item.direction] ?? "?"} `),
          data(safe(item.listed_ip), "mono listed")),
        element("span", { class: "dim" }, item.direction, " ", ports(item))) },
      { label: "Evidence", cell: (item) => lines(element("span", { class: `badge evidence-${item.evidence}` }, item.evidence),
        item.state === "open" ? null : badge(item.state)) },
      { label: "Listed by", cell: (item) => indicators(item.indicators) },
      { label: "Seen by", cell: (item) => observers(item, names()) },
      { label: "Packets", cls: "figure", cell: (item) => lines(
        element("span", {}, number(item.packets), element("span", { class: "dim" }, ` ±${Math.ceil(item.packets_error_pct)} %`)),
        element("span", { class: "dim" }, bytes(item.bytes))) },
      { label: "First / last (UTC)", cls: "figure", cell: (item) => lines(time(item.first_seen), time(item.last_seen)) },
      { label: "Capture", cell: (item) => {
        const live = item.capture && item.capture.state !== "ended";
        const start = !live && item.state === "open"
          ? button("Capture", "capture", `${safe(item.local_ip)} with ${safe(item.listed_ip)}`, () => actions.capture(item)) : null;
        return lines(item.capture ? badge(item.capture.state) : null,
          live && item.capture.note ? data(safe(item.capture.note), "dim") : null,
          item.why_not && !live ? data(safe(item.why_not), "why") : null, start);
      } },
    ],
  };
}

export function captureTable(actions, quiet) {
  return {
    caption: "Captures, those that live first",
    key: (item) => item.id,
    empty: "No conversation is being mirrored. A detection with evidence “initiated” starts one in automatic mode; in manual mode it waits " +
      "here for your approval; in dry-run mode the rule is shown and not sent.",
    columns: [
      { label: "Conversation", head: true, cell: (item) => lines(
        element("span", { class: "pair" }, data(safe(item.local_ip), "mono"), element("span", { class: "arrow" }, " ↔ "), data(safe(item.listed_ip), "mono listed")),
        data(safe(item.reason), "dim"), element("span", { class: "dim" }, "by ", data(safe(item.requested_by)), " at ", time(item.created_at))) },
      { label: "State", cell: (item) => lines(badge(item.state), item.note ? data(safe(item.note), "dim") : null) },
      { label: "Switch and rule", cell: (item) => item.mirrors.length ? item.mirrors.map((each) => element("div", { class: "mirror" },
        data(safe(each.switch)), " ", item.mirrors.length > 1 || each.state !== item.state ? badge(each.state) : null,
        each.error ? element("div", {}, data(safe(each.error), "why")) : null,
        fold(`${each.lines.length} lines`, [element("pre", { tabindex: "0", "aria-label": "Rule lines" },
          each.lines.map((line) => safe(line)).join("\n"))])) ?? "") : element("span", { class: "dim" }, "none yet") },
      { label: "Mirrored", cls: "figure", cell: (item) => lines(element("span", {}, number(item.packets)), element("span", { class: "dim" }, bytes(item.bytes)),
        item.rate_bps ? element("span", { class: "dim" }, `some ${bits(item.rate_bps)}`) : null) },
      { label: "Time left", cls: "figure", cell: (item) => item.state === "ended"
        ? lines(element("span", { class: "dim" }, "ended ", time(item.ended_at)))
        : lines(element("span", { "data-until": until(item, quiet()) }, "…"),
          element("span", { class: "dim" }, "last seen ", time(item.evidence_at))) },
      { label: "Do", cell: (item) => {
        const subject = `${safe(item.local_ip)} with ${safe(item.listed_ip)}`;
        return element("div", { class: "actions" },
          item.state === "pending" ? button("Approve", "approve", subject, () => actions.approve(item), "primary") : null,
          LIVE.has(item.state) ? button("+1 h", "extend", `one hour more for ${subject}`, () => actions.extend(item)) : null,
          LIVE.has(item.state) ? button("Stop", "stop", subject, () => actions.stop(item)) : null,
          button("pcap", "pcap", `packets of ${subject}`, () => actions.pcap(item)));
      } },
    ],
  };
}

// Silence ends a capture before its latest end.
function until(item, quietSeconds) {
  const latest = Date.parse(item.ends_at);
  return typeof quietSeconds === "number" ? Math.min(latest, Date.parse(item.evidence_at) + quietSeconds * 1000) : latest;
}

export function switchTable() {
  return {
    caption: "Switches",
    key: (item) => item.name,
    empty: "No switch is known, so nothing can be mirrored. Name them in [[switch]] or an inventory, with switch-acl-api running on each; “sentinel check” tells whether they answer.",
    columns: [
      { label: "Switch", head: true, cell: (item) => lines(data(safe(item.name)), data(safe(item.role), "dim")) },
      { label: "State", cell: (item) => lines(badge(item.state), item.detail ? data(safe(item.detail), "why") : null) },
      { label: "Rules", cls: "figure", cell: (item) => `${number(item.rules)} of ${number(item.max_rules)}` },
      { label: "Mirrors", cls: "figure", cell: (item) => lines(element("span", {}, bits(item.mirrored_bps)), element("span", { class: "dim" }, `of ${bits(item.max_mirrored_bps)}`)) },
      { label: "ERSPAN source", cell: (item) => data(safe(item.erspan_source), "mono") },
      { label: "Agents", cell: (item) => lines(...(item.agents ?? []).slice(0, 4).map((each) => data(safe(each), "mono"))) },
      { label: "Shim", cell: (item) => lines(data(safe(item.url), "mono"), item.answered_at ? element("span", { class: "dim" }, "answered ", time(item.answered_at)) : null) },
    ],
  };
}

export function feedTable(actions) {
  return {
    caption: "Feeds",
    key: (item) => item.name,
    empty: "No feed is configured, so no address is listed. “sentinel feeds list” shows the ones that come with Sentinel.",
    columns: [
      { label: "Feed", head: true, cell: (item) => lines(data(safe(item.name)), data(safe(item.title), "dim")) },
      { label: "State", cell: (item) => lines(badge(item.state), item.allows ? element("span", { class: "dim" }, "never matches") : null, item.detail ? data(safe(item.detail), "why") : null) },
      { label: "In force", cls: "figure", cell: (item) => lines(element("span", {}, number(item.entries)),
        item.entries_v6 ? element("span", { class: "dim" }, `${number(item.entries_v6)} IPv6`) : null,
        item.rejected ? element("span", { class: "dim", title: dropped(item) }, `${number(item.rejected)} dropped`) : null) },
      { label: "Only here", cls: "figure", cell: (item) => lines(element("span", {}, percent(item.unique_share)), ...overlap(item)) },
      { label: "Age", cls: "figure", cell: (item) => lines(since(item.fetched_at),
        item.changed_at ? element("span", { class: "dim" }, "changed ", since(item.changed_at), " ago") : null) },
      { label: "Detections", cls: "figure", cell: (item) => lines(element("span", {}, `${number(item.detections)} open`),
        typeof item.detections_total === "number" ? element("span", { class: "dim" }, `${number(item.detections_total)} since start`) : null,
        item.captures_total ? element("span", { class: "dim" }, `${number(item.captures_total)} captured`) : null) },
      { label: "Licence and source", cell: (item) => lines(data(safe(item.licence)), data(safe(item.attribution), "dim"), data(safe(item.url), "mono dim")) },
      { label: "Next", cls: "figure", cell: (item) => lines(item.next_at ? time(item.next_at) : null,
        item.state === "quarantined" ? button("Accept", "accept", safe(item.name), () => actions.accept(item)) : null,
        button("Refresh", "refresh", safe(item.name), () => actions.refresh(item))) },
    ],
  };
}

function since(text) {
  return text ? element("span", { "data-since": Date.parse(text), title: day(text) }, "…") : element("span", {}, "–");
}

function dropped(item) {
  return Object.entries(item.rejected_by_reason ?? {}).map(([reason, count]) => `${number(count)} ${safe(reason)}`).join(", ");
}

function overlap(item) {
  return (item.overlap ?? []).slice(0, 2).map((each) => element("span", { class: "dim" }, `${percent(each.share)} in `, data(safe(each.feed))));
}

export function agentTable() {
  return {
    caption: "Agents",
    key: (item) => `${item.agent} ${item.sub_agent ?? 0}`,
    empty: "No sFlow agent is heard. Point a switch at this host (UDP 6343), and check that its address is among the configured agents: datagrams of others are counted and dropped.",
    columns: [
      { label: "Agent", head: true, cell: (item) => lines(data(safe(item.agent), "mono"), item.switch ? data(safe(item.switch), "dim") : null) },
      { label: "Samples/s", cls: "figure", cell: (item) => lines(rate(item.samples_per_s), element("span", { class: "dim" }, number(item.samples))) },
      { label: "Sampling", cls: "figure", cell: (item) => item.sampling_rate ? `1:${number(item.sampling_rate)}` : "–" },
      { label: "Datagrams lost", cls: "figure", cell: (item) => element("span", { class: item.loss_pct >= 1 ? "why" : "" }, loss(item)) },
      { label: "Undecodable", cls: "figure", cell: (item) => number(item.errors) },
      { label: "Last heard (UTC)", cls: "figure", cell: (item) => time(item.last_seen) },
    ],
  };
}

function loss(item) {
  if (typeof item.lost_datagrams !== "number") return "–";
  const share = typeof item.loss_pct === "number" ? ` (${item.loss_pct.toFixed(2)} %)` : "";
  return `${number(item.lost_datagrams)}${share}`;
}
