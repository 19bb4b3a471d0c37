// SPDX-FileCopyrightText: the Sentinel authors
// SPDX-License-Identifier: Apache-2.0
// Asks, shows, asks again: every few seconds, and at once when an event arrives.

import { ApiError, at, file, get, send, token } from "./api.js";
import { Table, data, element } from "./dom.js";
import { Flows } from "./flows.js";
import { agentTable, badge, captureTable, detectionTable, feedTable, switchTable } from "./panels.js";
import { eventTime, number, rate, safe, span } from "./text.js";

const TICK_MS = 4000;
const POLL_S = 25;
const RETRY_MS = 5000;
const EVENTS_SHOWN = 100;

const byId = (id) => document.getElementById(id);
const state = { names: new Map(), quiet: null, skew: 0, after: 0, busy: false, again: false, asked: false };

const actions = {
  capture: (item) => act(() => send("POST", at("captures"), { local_ip: item.local_ip, listed_ip: item.listed_ip })),
  approve: (item) => act(() => send("POST", at("captures", item.id, "approve"), {})),
  extend: (item) => act(() => send("POST", at("captures", item.id, "extend"), { seconds: 3600 })),
  stop: (item) => {
    const question = `Stop mirroring ${safe(item.local_ip)} with ${safe(item.listed_ip)}? Its rule is removed from the switch.`;
    if (confirm(question)) act(() => send("DELETE", at("captures", item.id), {}));
  },
  pcap: (item) => act(() => download(item)),
  accept: (item) => {
    const question = `Put the refused download of ${safe(item.name)} in force? It was refused: ${safe(item.detail)}`;
    if (confirm(question)) act(() => send("POST", at("feeds", item.name, "accept"), {}));
  },
  refresh: (item) => act(() => send("POST", at("feeds", item.name, "refresh"), {})),
};

const tables = {
  detections: new Table(place("detections"), detectionTable(actions, () => state.names)),
  captures: new Table(place("captures"), captureTable(actions, () => state.quiet)),
  switches: new Table(place("switches"), switchTable()),
  feeds: new Table(place("feeds"), feedTable(actions)),
  agents: new Table(place("agents"), agentTable()),
};

const flows = new Flows(byId("flows"), () => state.names);

function place(section) {
  return byId(section).querySelector(".scroll");
}

async function act(work) {
  notice("");
  try {
    await work();
  } catch (error) {
    failed(error);
  }
  await refresh();
}

async function download(item) {
  const url = URL.createObjectURL(await file(at("captures", item.id, "pcap")));
  element("a", { href: url, download: `${item.id.replaceAll(":", "_")}.pcapng` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function notice(text) {
  const line = byId("notice");
  line.hidden = !text;
  line.textContent = text;
}

function failed(error) {
  if (error instanceof ApiError && error.status === 401) askToken(error);
  else if (error instanceof ApiError) notice(safe(error.message));
  else lost();
}

function lost() {
  const health = byId("health");
  health.className = "badge bad";
  health.textContent = "daemon not reached";
}

function askToken(error) {
  if (!state.asked) notice(token.get() ? safe(error.message) : "");
  state.asked = true;
  token.forget();
  byId("login").hidden = false;
  byId("main").hidden = true;
  byId("forget").hidden = true;
  byId("token").focus();
}

async function refresh() {
  if (state.asked) return;
  if (state.busy) {
    state.again = true;
    return;
  }
  state.busy = true;
  try {
    await showAll();
  } catch (error) {
    failed(error);
  }
  state.busy = false;
  if (state.again) {
    state.again = false;
    await refresh();
  }
}

async function showAll() {
  const [health, detections, captures, switches, feeds, agents] = await Promise.all([
    get("/healthz"), get(at("detections")), get(at("captures")), get(at("switches")), get(at("feeds")), get(at("agents")),
  ]);
  state.quiet = health.quiet_s ?? null;
  state.skew = health.now ? Date.parse(health.now) - Date.now() : 0;
  const names = new Map(switches.switches.flatMap((each) => (each.agents ?? []).map((agent) => [agent, each.name])));
  state.names = names;
  byId("main").hidden = false;
  byId("forget").hidden = !token.get();
  showHealth(health, feeds.feeds, agents.agents);
  show("detections", detections);
  show("captures", captures);
  show("switches", switches);
  show("feeds", feeds);
  show("agents", agents);
  flows.look();
  countDown();
}

function show(name, answer) {
  const rows = answer[name];
  tables[name].show(rows);
  const some = answer.total > rows.length ? `${number(rows.length)} of ${number(answer.total)}` : number(answer.total);
  byId(name).querySelector(".count").textContent = some;
}

function showHealth(health, feeds, agents) {
  const mark = badge(health.status);
  const line = byId("health");
  line.className = mark.className;
  line.textContent = mark.textContent;
  feeds = feeds.filter((each) => !each.allows);
  const ages = feeds.filter((each) => each.fetched_at).map((each) => (Date.now() + state.skew - Date.parse(each.fetched_at)) / 1000);
  const entries = feeds.reduce((sum, each) => sum + (typeof each.entries === "number" ? each.entries : 0), 0);
  const perSecond = health.samples_per_s ?? agents.reduce((sum, each) => sum + (each.samples_per_s ?? 0), 0);
  facts([
    ["Mode", safe(health.mode ?? "–")],
    ["Agents heard", number(health.agents ?? agents.length)],
    ["Samples/s", rate(perSecond)],
    ["Listed", ages.length ? `${number(entries)}, oldest feed ${span(Math.max(...ages))}` : number(entries)],
    ["Mirrors to", safe(health.erspan_destination ?? "–")],
    ["Up", health.started_at && health.now ? span((Date.parse(health.now) - Date.parse(health.started_at)) / 1000) : "–"],
  ]);
  const problems = Array.isArray(health.problems) ? health.problems.slice(0, 20) : [];
  byId("problems").hidden = problems.length === 0;
  byId("problems").replaceChildren(...problems.map(problem));
  document.title = health.status === "ok" ? "Sentinel" : `${safe(health.status)} – Sentinel`;
}

function problem(each) {
  const subject = each.subject && !String(each.text).includes(each.subject) ? `${safe(each.subject)}: ` : "";
  const since = each.since && state.skew !== undefined ? ` (for ${span((Date.now() + state.skew - Date.parse(each.since)) / 1000)})` : "";
  const remedy = each.remedy ? element("small", {}, data(safe(each.remedy))) : "";
  return element("li", { class: safe(each.severity) }, data(`${subject}${safe(each.text)}${since}`), " ", remedy);
}

function facts(pairs) {
  byId("facts").replaceChildren(...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, data(value)))));
}

function countDown() {
  const now = Date.now() + state.skew;
  for (const each of document.querySelectorAll("[data-until]")) {
    const left = (Number(each.dataset.until) - now) / 1000;
    each.textContent = left > 0 ? span(left) : "ending";
  }
  for (const each of document.querySelectorAll("[data-since]")) {
    each.textContent = span((now - Number(each.dataset.since)) / 1000);
  }
}

function eventWords(event) {
  const { capture, feed } = event;
  if (capture) {
    return [badge(capture.state), " ", data(`${safe(capture.local_ip)} ↔ ${safe(capture.listed_ip)}`, "mono"), " ", data(safe(capture.note || capture.reason), "dim")];
  }
  if (feed) {
    const ours = Array.isArray(feed.local_listed) && feed.local_listed.length
      ? data(` lists addresses of ours: ${safe(feed.local_listed.join(", "))}`, "why") : null;
    return [badge(feed.outcome), " ", data(safe(feed.name)), ` +${number(feed.added)} −${number(feed.removed)} ${feed.changed ? `~${number(feed.changed)} ` : ""}`, data(safe(feed.detail || feed.reason), "dim"), ours];
  }
  return [event.sentinel?.state ? badge(event.sentinel.state) : null, " ", data(safe(event.alert?.signature ?? event.message ?? event.event_type))];
}

function eventLine(event) {
  return element("li", {}, element("time", {}, eventTime(event.timestamp)), " ",
    element("span", { class: "kind" }, safe(event.event_type)), " ", ...eventWords(event).filter(Boolean));
}

function showEvents(events) {
  const stream = byId("stream");
  for (const event of events) stream.prepend(eventLine(event));
  while (stream.children.length > EVENTS_SHOWN) stream.lastChild.remove();
  byId("events").querySelector(".empty").hidden = stream.children.length > 0;
}

async function listen() {
  for (;;) {
    try {
      if (state.asked) throw new ApiError(401, "token", "");
      const answer = await get(`${at("events")}?after=${state.after}&timeout=${POLL_S}`);
      if (answer.gap) showEvents([{ event_type: "gap", message: "some events in between were not kept" }]);
      showEvents(answer.events);
      state.after = answer.next;
      if (answer.events.length) await refresh();
    } catch {
      await sleep(RETRY_MS);
    }
  }
}

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  byId("login").hidden = true;
  state.asked = false;
  notice("");
  refresh();
});

byId("forget").addEventListener("click", () => {
  token.forget();
  location.reload();
});

byId("start").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const wish = { local_ip: form.get("local_ip").trim(), listed_ip: form.get("listed_ip").trim() };
  if (form.get("minutes")) wish.seconds = Math.round(Number(form.get("minutes")) * 60);
  act(async () => {
    await send("POST", at("captures"), wish);
    event.target.reset();
  });
});

setInterval(() => { if (!document.hidden) refresh(); }, TICK_MS);
setInterval(countDown, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
refresh();
listen();
