// One stream of server-sent events for the whole page. EventSource cannot send a key in a header, so the stream is read by fetch.
// Kept: the calls of the last minute (for rates) and the latest few (for the list). Closed while nobody looks at the tab.

import { useEffect, useState } from "../vendor/preact-htm.js";
import { parseUsd } from "../words/money.js";
import { request } from "./api.js";

const MINUTE = 60_000;
const KEPT = 60;
const listeners = new Set();
let controller = null;
let retryTimer = null;
let failures = 0;
let state = { isOn: false, isPaused: false, minute: [], latest: [], missed: 0, since: 0 };

export function useLive() {
  const [shown, set] = useState(state);
  useEffect(() => {
    listeners.add(set);
    if (listeners.size === 1) open();
    return () => {
      listeners.delete(set);
      if (!listeners.size) close();
    };
  }, []);
  return { ...shown, ...ratesOf(shown) };
}

export function pauseLive(isPaused) {
  tell({ isPaused });
}

/** Calls, tokens and money of the last minute (or since the stream began, where that is shorter). */
function ratesOf({ minute, since }) {
  const now = Date.now();
  const recent = minute.filter((call) => now - call.seenAt < MINUTE);
  const seconds = Math.max(5, Math.min(60, (now - since) / 1000));
  const calls = recent.reduce((sum, call) => sum + (call.calls ?? 1), 0);
  const tokens = recent.reduce((sum, call) => sum + (call.total_tokens ?? 0), 0);
  const cost = recent.reduce((sum, call) => sum + (parseUsd(call.cost_usd) ?? 0n), 0n);
  return { callsPerMinute: Math.round((calls * 60) / seconds), tokensPerSecond: tokens / seconds, minuteCost: cost };
}

async function open() {
  clearTimeout(retryTimer);
  if (document.hidden || controller) return;
  const mine = new AbortController();
  controller = mine;
  try {
    const reply = await request("GET", "live", { signal: mine.signal });
    failures = 0;
    tell({ isOn: true, since: Date.now() });
    await read(reply.body.pipeThrough(new TextDecoderStream()).getReader());
  } catch (reason) {
    if (mine.signal.aborted) return;
    failures += 1;
  }
  if (controller === mine) controller = null;
  tell({ isOn: false });
  if (listeners.size && !mine.signal.aborted) retryTimer = setTimeout(open, Math.min(30_000, 1000 * 2 ** failures));
}

async function read(reader) {
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    take(events.map(parseEvent).filter(Boolean));
  }
}

function parseEvent(text) {
  const fields = { event: "message", data: "" };
  for (const line of text.split("\n")) {
    const [name, ...value] = line.split(":");
    if (name in fields) fields[name] = value.join(":").trimStart();
  }
  return fields.data ? fields : null;
}

function take(events) {
  const seenAt = Date.now();
  const calls = events.filter((one) => one.event === "call").map((one) => ({ ...JSON.parse(one.data), seenAt }));
  const sums = events.filter((one) => one.event === "calls").map((one) => ({ ...JSON.parse(one.data), seenAt }));
  const missed = events.filter((one) => one.event === "dropped").reduce((sum, one) => sum + Number(one.data), 0);
  if (!calls.length && !sums.length && !missed) return;
  tell({
    minute: [...state.minute.filter((call) => seenAt - call.seenAt < MINUTE), ...sums, ...calls].slice(-5000),
    latest: state.isPaused ? state.latest : [...calls.reverse(), ...state.latest].slice(0, KEPT),
    missed: state.missed + missed,
  });
}

function close() {
  clearTimeout(retryTimer);
  controller?.abort();
  controller = null;
  tell({ isOn: false });
}

/** Forget another person's calls: at log-out. */
export function forgetLive() {
  close();
  state = { isOn: false, isPaused: false, minute: [], latest: [], missed: 0, since: 0 };
}

function tell(changes) {
  state = { ...state, ...changes };
  for (const listener of listeners) listener(state);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else if (listeners.size) open();
});
