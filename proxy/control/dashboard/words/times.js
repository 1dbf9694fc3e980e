// Instants as people read them: relative, with the absolute time and its zone on hover.

const cache = new Map();

function formatter(zone, options) {
  const name = zone + JSON.stringify(options);
  if (!cache.has(name)) cache.set(name, new Intl.DateTimeFormat("en-GB", { timeZone: zone, ...options }));
  return cache.get(name);
}

const DATE = { year: "numeric", month: "2-digit", day: "2-digit" };
const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

function parts(at, zone, options) {
  return Object.fromEntries(formatter(zone, options).formatToParts(new Date(at)).map((part) => [part.type, part.value]));
}

/** 2026-11-22 in the zone. */
export function localDate(at, zone) {
  const { year, month, day } = parts(at, zone, DATE);
  return `${year}-${month}-${day}`;
}

/** 14:03:07 in the zone. */
export const localClock = (at, zone) => formatter(zone, CLOCK).format(new Date(at));

/** 2026-11-22 14:03:07 UTC. */
export const absolute = (at, zone) => (at ? `${localDate(at, zone)} ${localClock(at, zone)} ${zoneName(at, zone)}` : "–");

/** UTC, CET, GMT+5:30 … as the zone is called then. */
export function zoneName(at, zone) {
  return parts(at, zone, { timeZoneName: "short", year: "numeric" }).timeZoneName ?? zone;
}

/** just now, 4 min ago, in 3 h, 12 days ago. */
export function relative(at, now = Date.now()) {
  if (!at) return "–";
  const seconds = (new Date(at).getTime() - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  const [amount, unit] =
    size < 60 ? [size, "s"] : size < 3600 ? [size / 60, "min"] : size < 172_800 ? [size / 3600, "h"] : [size / 86_400, "days"];
  const text = `${Math.round(amount)}\u202f${unit}`;
  return seconds < 0 ? `${text} ago` : `in ${text}`;
}

/** The hour (0–23) of an instant in the zone. */
export const localHour = (at, zone) => Number(localClock(at, zone).slice(0, 2));

/** 2026-11-22 → 22 Nov, from a calendar date alone. */
export function dayLabel(date, withYear = false) {
  const options = { day: "numeric", month: "short", ...(withYear ? { year: "numeric" } : {}) };
  return formatter("UTC", options).format(new Date(date + "T00:00:00Z"));
}

export const monthLabel = (date) => formatter("UTC", { month: "short", year: "numeric" }).format(new Date(date + "T00:00:00Z"));
export const weekday = (date) => formatter("UTC", { weekday: "short" }).format(new Date(date + "T00:00:00Z"));

/** Calendar arithmetic on dates as text, free of zones. */
export function plusDays(date, days) {
  return new Date(Date.parse(date + "T00:00:00Z") + days * 86_400_000).toISOString().slice(0, 10);
}
