// The columns of a chart: every interval of a period, also those in which nothing happened, and how to ask for one of them.
// An interval is keyed by its local date (hours by their instant), so that days of 23 or 25 hours need no special care.

import { dayLabel, localClock, localDate, monthLabel, plusDays, weekday } from "./times.js";

export const INTERVALS = { hour: "Hour", day: "Day", week: "Week", month: "Month" };
const HOUR = 3_600_000;
const MOST = 2000;

export const PRESETS = {
  today: "Today",
  yesterday: "Yesterday",
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
  "90d": "Last 90 days",
  this_month: "This month",
  last_month: "Last month",
  this_year: "This year",
};

/** The interval that gives a readable number of columns. */
export function usualInterval(query) {
  if (query.from) {
    const days = (Date.parse(query.to ?? new Date().toISOString()) - Date.parse(query.from)) / 86_400_000;
    return days <= 3 ? "hour" : days <= 120 ? "day" : days <= 400 ? "week" : "month";
  }
  const [, size, unit] = /^(\d+)([hdwmy])$/.exec(query.range ?? "30d") ?? [];
  if (unit === "h" || ["today", "yesterday", "day"].includes(query.range)) return Number(size ?? 24) <= 72 ? "hour" : "day";
  if (query.range === "this_year") return "week";
  return unit === "d" && Number(size) <= 2 ? "hour" : "day";
}

/** Which column an instant of the API belongs to. */
export function keyOf(at, interval, zone) {
  return interval === "hour" ? new Date(at).toISOString() : localDate(at, zone);
}

/** All columns from the answer's bounds: {key, label, title, from, to}; from and to are fit for a query. */
export function columnsOf(answer, interval, zone) {
  const first = answer.from ?? answer.points[0]?.at;
  if (!first) return [];
  const last = Math.min(answer.to ? Date.parse(answer.to) : Date.now(), Date.now());
  return interval === "hour" ? hours(Date.parse(first), last, zone) : dates(first, last, interval, zone);
}

function hours(first, last, zone) {
  const found = [];
  for (let at = Math.floor(first / HOUR) * HOUR; at < last && found.length < MOST; at += HOUR) {
    const clock = localClock(at, zone).slice(0, 5);
    const date = localDate(at, zone);
    found.push({
      key: new Date(at).toISOString(),
      label: clock === "00:00" ? dayLabel(date) : clock,
      title: `${weekday(date)} ${dayLabel(date)}, ${clock}`,
      from: new Date(at).toISOString(),
      to: new Date(at + HOUR).toISOString(),
    });
  }
  return found;
}

function dates(first, last, interval, zone) {
  const end = localDate(last - 1, zone);
  const found = [];
  for (let date = beginOf(localDate(first, zone), interval); date <= end && found.length < MOST; date = after(date, interval)) {
    const to = after(date, interval);
    found.push({ key: date, label: interval === "month" ? monthLabel(date) : dayLabel(date), title: titleOf(date, to, interval), from: date, to });
  }
  return found;
}

function titleOf(date, to, interval) {
  if (interval === "month") return monthLabel(date);
  if (interval === "week") return `${dayLabel(date)} – ${dayLabel(plusDays(to, -1), true)}`;
  return `${weekday(date)} ${dayLabel(date, true)}`;
}

function beginOf(date, interval) {
  if (interval === "month") return date.slice(0, 8) + "01";
  if (interval === "day") return date;
  const weekdayNumber = (new Date(date + "T00:00:00Z").getUTCDay() + 6) % 7;
  return plusDays(date, -weekdayNumber);
}

function after(date, interval) {
  if (interval !== "month") return plusDays(date, interval === "week" ? 7 : 1);
  return plusDays(date.slice(0, 8) + "01", 32).slice(0, 8) + "01";
}
