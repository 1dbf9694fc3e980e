// The control API: one way to ask, one kind of failure.

import { save } from "../words/csv.js";
import { chosenZone, key, logOut, session } from "./session.js";

const BASE = "/api/v1/";

export class ApiFailure extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Signals of quiet reloads → seconds that their answers may be old: many open dashboards then share what one of them asked. */
const ages = new WeakMap();
export const acceptAge = (signal, seconds) => ages.set(signal, seconds);

export const get = (path, query, signal) => ask("GET", path, { query, signal });
export const send = (method, path, body, query) => ask(method, path, { body, query });

/** Reports that are cut into days or hours get the viewer's zone. */
export function inZone(query = {}) {
  const zone = chosenZone();
  return zone ? { timezone: zone, ...query } : query;
}

export async function ask(method, path, { query, body, signal } = {}) {
  const reply = await request(method, path, { query, body, signal });
  return reply.status === 204 ? null : reply.json();
}

/** Fetch a streamed export and save it as a file. */
export async function download(path, query, name) {
  const reply = await request("GET", path, { query });
  save(name, await reply.blob());
}

export function address(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return BASE + path + (given.length ? "?" + new URLSearchParams(given) : "");
}

export async function request(method, path, { query, body, signal } = {}) {
  const headers = key() === null ? { "x-csrf-token": session().identity?.csrf_token ?? "" } : { authorization: `Bearer ${key()}` };
  if (ages.has(signal)) headers["cache-control"] = `max-age=${ages.get(signal)}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let reply;
  try {
    reply = await fetch(address(path, query), { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (reason) {
    if (reason.name === "AbortError") throw reason;
    throw new ApiFailure(0, "unreachable", "The control plane cannot be reached. Calls through the proxy go on; this page tries again.");
  }
  if (reply.ok) return reply;
  throw await failureOf(reply);
}

async function failureOf(reply) {
  let error = {};
  try {
    error = (await reply.json()).error ?? {};
  } catch {
    error = { message: `The control plane answered ${reply.status} ${reply.statusText}` };
  }
  const failure = new ApiFailure(reply.status, error.code ?? "unknown", error.message ?? `status ${reply.status}`);
  if (reply.status === 401 && session().phase === "in") logOut(failure);
  return failure;
}

/** Whether this release of the control plane has an operation, e.g. offers("GET", "/recommendations"). */
export function offers(method, path) {
  return session().identity?.offers.includes(`${method} ${path}`) ?? false;
}

async function learnOffers() {
  const reply = await fetch(BASE + "openapi.json");
  const paths = reply.ok ? ((await reply.json()).paths ?? {}) : {};
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/^\/api\/v1/, "")}`),
  );
}

/** Who looks, as the house says it, and what this release offers. */
export async function identify() {
  const [identity, offers] = await Promise.all([get("session"), learnOffers()]);
  return { ...identity, offers };
}

/** Log in with a name and a password; the browser keeps the cookie. */
export async function beginSession(name, password) {
  return send("POST", "session", { name, password });
}

/** End the session of the cookie, where that is how this page is logged in. */
export async function endSession() {
  if (session().identity?.kind === "session") await ask("DELETE", "session");
}
