// Counts, fractions and durations as people read them. The exact number always goes into a title beside the short one.

import { groupDigits } from "./money.js";

const NOTHING = "–";

/** 1234567 → 1 234 567 with thin separators. */
export function count(value) {
  if (value === null || value === undefined) return NOTHING;
  const text = String(Math.round(value));
  return text.startsWith("-") ? "−" + groupDigits(text.slice(1)) : groupDigits(text);
}

/** 1234567 → 1.23M, for tiles and axes. */
export function compact(value) {
  if (value === null || value === undefined) return NOTHING;
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit * (unit === 1e3 ? 10 : 1)) return significant(value / unit) + letter;
  }
  return size >= 1000 ? count(value) : String(Number(value.toFixed(size < 10 ? 1 : 0)));
}

/** The same without zeros that say nothing, for axes: 6M, 2.5k. */
export const compactAxis = (value) => compact(value).replace(/(\.\d*?)0+(?=[kMBT]?$)/, "$1").replace(/\.(?=[kMBT]?$)/, "");

/** 0.1234 → 12.3 %. */
export function percent(fraction, places = 1) {
  if (fraction === null || fraction === undefined || !Number.isFinite(fraction)) return NOTHING;
  const shown = (fraction * 100).toFixed(Math.abs(fraction) >= 0.995 ? 0 : places);
  return `${shown}\u202f%`;
}

/** How much more or less than before, as a signed fraction; null where there was nothing before. */
export const change = (now, before) => (before ? (now - before) / before : null);

/** 1234.5 ms → 1.23 s. */
export function duration(ms) {
  if (ms === null || ms === undefined) return NOTHING;
  if (ms < 1) return `${Number(ms.toFixed(3))}\u202fms`;
  if (ms < 1000) return `${Number(ms.toFixed(ms < 10 ? 1 : 0))}\u202fms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(ms < 10_000 ? 2 : 1))}\u202fs`;
  return `${Math.floor(ms / 60_000)}\u202fmin ${Math.round((ms % 60_000) / 1000)}\u202fs`;
}

export function bytes(size) {
  if (size === null || size === undefined) return NOTHING;
  if (size < 1024) return `${size}\u202fB`;
  return size < 1024 ** 2 ? `${(size / 1024).toFixed(1)}\u202fKiB` : `${(size / 1024 ** 2).toFixed(1)}\u202fMiB`;
}

export const plural = (size, one, many = one + "s") => `${count(size)} ${size === 1 ? one : many}`;

function significant(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
