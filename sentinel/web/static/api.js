// SPDX-FileCopyrightText: the Sentinel authors
// SPDX-License-Identifier: Apache-2.0
// Requests to the daemon this page came from.

const KEY = "sentinel-token";

export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

async function ask(method, path, body, signal) {
  const headers = {};
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (method !== "GET") headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error",
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.ok) return answer;
  let said = {};
  try {
    said = await answer.json();
  } catch {
    // The server's own refusals (a request too large to read) are plain text.
  }
  // A failing daemon still says how it is.
  if (path === "/healthz" && said.status) return { json: async () => said };
  throw new ApiError(answer.status, String(said.error ?? "http"), String(said.detail ?? `HTTP ${answer.status}`));
}

export async function get(path, signal) {
  return (await ask("GET", path, undefined, signal)).json();
}

export async function send(method, path, body) {
  return (await ask(method, path, body)).json();
}

export async function file(path) {
  return (await ask("GET", path)).blob();
}

export const at = (...parts) => `/api/v1/${parts.map(encodeURIComponent).join("/")}`;
