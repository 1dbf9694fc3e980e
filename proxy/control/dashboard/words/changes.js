// What a line of the audit log changed, as short phrases: "tokens per day: none → 5 000 000". Pure.

import { count } from "./numbers.js";

const KNOWN = ["id", "at", "by", "action", "subject", "address", "before", "after"];
const DULL = ["key_id", "origin", "created_at", "created_by", "at", "by", "id", "state", "hash", "scope", "value"];
const MOST = 4;

/** [{name, before, after}] of what differs; values as text, null where there was none. */
export function changesOf(row) {
  const others = Object.fromEntries(Object.entries(row).filter(([name]) => !KNOWN.includes(name)));
  const [before, after] = [flat(row.before), { ...flat(row.after), ...flat(others) }];
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => before[name] !== after[name] && !DULL.includes(name.split(" ").at(-1)) && ![before[name], after[name]].every((value) => value === undefined || value === "no"))
    .map((name) => ({ name, before: before[name] ?? null, after: after[name] ?? null }));
}

export function changeWords(row) {
  const changes = changesOf(row);
  const told = changes.slice(0, MOST).map(({ name, before, after }) => {
    if (name === "") return [before, after].filter(Boolean).join(" → ");
    return before !== null && after !== null ? `${name}: ${before} → ${after}` : after !== null ? `${name}: ${after}` : `${name} was ${before}`;
  });
  return told.join(", ") + (changes.length > MOST ? `, and ${changes.length - MOST} more` : "");
}

/** {limits: {tokens: {per_day: 5}}} → {"tokens per day": "5"}; nothing and empty values are left out. */
function flat(value, path = []) {
  if (value === null || value === undefined || value === "") return {};
  if (typeof value !== "object") return { [path.join(" ")]: shown(value) };
  if (Array.isArray(value)) return value.length ? { [path.join(" ")]: value.map((one) => (typeof one === "object" ? (one?.name ?? JSON.stringify(one)) : one)).join(" + ") } : {};
  return Object.assign({}, ...Object.entries(value).map(([name, one]) => flat(one, ["limits", "settings"].includes(name) ? path : [...path, name.replaceAll("_", " ")])));
}

function shown(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return count(value);
  return /^\d{4}-\d\d-\d\dT/.test(value) ? value.slice(0, 16).replace("T", " ") : String(value);
}
