// SPDX-FileCopyrightText: the Sentinel authors
// SPDX-License-Identifier: Apache-2.0
// Values → text for people. Pure.

const LONGEST = 240;
// Controls, line separators, and what makes text run the other way or disappear (Unicode bidi controls, zero width, BOM).
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/gu;

// Data from the wire or a feed as it may be shown: bounded, and nothing hidden in it.
export function safe(value) {
  if (value === null || value === undefined) return "";
  const text = String(value);
  const cut = Array.from(text.slice(0, 2 * LONGEST)).slice(0, LONGEST).join("");
  const shown = cut.replace(INVISIBLE, (each) => `⟨U+${each.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  return cut.length < text.length ? `${shown}… (${number(text.length)} characters)` : shown;
}

export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value.toLocaleString("en") : "–";
}

export function rate(value) {
  if (typeof value !== "number") return "–";
  return value >= 100 ? number(Math.round(value)) : String(Math.round(value * 10) / 10);
}

// A share, 0 to 1.
export function percent(value) {
  return typeof value === "number" && Number.isFinite(value) ? `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %` : "–";
}

export function bytes(value) {
  return scaled(value, ["B", "kB", "MB", "GB", "TB", "PB"]);
}

export function bits(value) {
  return scaled(value, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"]);
}

function scaled(value, units) {
  if (typeof value !== "number") return "–";
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(whole / 86400)} d`;
}

export function clock(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? safe(text) : at.toISOString().slice(11, 19);
}

export function day(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? safe(text) : at.toISOString().slice(0, 19).replace("T", " ") + " UTC";
}

// Suricata's +0000 is not what every Date.parse takes.
export function eventTime(text) {
  return clock(String(text ?? "").replace(/\+0000$/u, "Z"));
}

const PROTOCOLS = { 1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp6", 132: "sctp" };

export function protocol(value) {
  return value === null || value === undefined ? "" : PROTOCOLS[value] ?? `ip ${value}`;
}
