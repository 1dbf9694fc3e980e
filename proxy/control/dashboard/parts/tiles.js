// The four numbers that are looked at first: cost, tokens, calls, users; today and this month, each against the same stretch before.

import { html } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { zone } from "../client/session.js";
import { METRICS, amountOf, heightOf } from "../words/metrics.js";
import { change } from "../words/numbers.js";
import { localClock, localDate, plusDays } from "../words/times.js";
import { keyOf } from "../words/intervals.js";
import { Change, Count, Usd } from "./amounts.js";
import { Sparkline } from "./sparkline.js";
import { Loaded } from "./states.js";

const DAYS = 30;

/** Today and this month up to now; yesterday and last month up to the same moment. */
export function stretches(now, zoneName) {
  const today = localDate(now, zoneName);
  const clock = localClock(now, zoneName);
  const month = today.slice(0, 8) + "01";
  const lastMonth = plusDays(month, -1).slice(0, 8) + "01";
  const sameDay = plusDays(lastMonth, Number(today.slice(8)) - 1);
  return {
    today: { from: today },
    yesterday: { from: plusDays(today, -1), to: `${plusDays(today, -1)}T${clock}` },
    month: { from: month },
    lastMonth: { from: lastMonth, to: sameDay < month ? `${sameDay}T${clock}` : month },
  };
}

const KEPT_MS = 600_000;
const kept = new Map();

/** What is compared with moves on by minutes of a day that is over: asked again now and then only. */
async function before(name, filters, ask) {
  const key = JSON.stringify([name, filters, zone()]);
  const known = kept.get(key);
  if (known && Date.now() - known.at < KEPT_MS) return known.answer;
  const answer = await ask();
  kept.set(key, { answer, at: Date.now() });
  return answer;
}

async function load(signal, filters) {
  const ask = stretches(Date.now(), zone());
  const sum = (period, more = {}) => get("usage/summary", inZone({ ...filters, ...period, ...more }), signal);
  const [today, yesterday, month, lastMonth, days] = await Promise.all([
    sum(ask.today, { group_by: "user", limit: 1000 }),
    before("yesterday", filters, () => sum(ask.yesterday, { group_by: "user", limit: 1000 })),
    sum(ask.month, { group_by: "user", limit: 1000 }),
    before("lastMonth", filters, () => sum(ask.lastMonth)),
    get("usage/timeseries", inZone({ ...filters, range: `${DAYS}d`, interval: "day" }), signal),
  ]);
  return { today, yesterday, month, lastMonth, days };
}

export function Tiles({ filters = {}, withUsers = true }) {
  const found = useLoad((signal) => load(signal, filters), [JSON.stringify(filters)], { every: 120 });
  return html`
    <${Loaded} of=${found} rows=${2} tall>
      ${(data) => html`
        <div class="tiles">
          ${["cost_usd", "total_tokens", "requests"].map((metric) => html`<${Tile} key=${metric} metric=${metric} data=${data} />`)}
          ${withUsers && html`<${Users} data=${data} />`}
        </div>
      `}
    <//>
  `;
}

function Tile({ metric, data }) {
  const show = (answer) => (METRICS[metric].isMoney ? html`<${Usd} of=${answer.totals[metric]} what=${METRICS[metric].label} />` : html`<${Count} short of=${answer.totals[metric]} what=${METRICS[metric].label} />`);
  const size = (answer) => heightOf(amountOf(answer.totals, metric));
  return html`
    <section class="tile" aria-label=${METRICS[metric].label}>
      <h2 class="tile-name" title=${METRICS[metric].explain}>${METRICS[metric].label} today</h2>
      <p class="tile-amount">${show(data.today)}</p>
      <p class="tile-second"><${Change} of=${change(size(data.today), size(data.yesterday))} against="vs yesterday by now" /></p>
      <p class="tile-second"><span><b>${show(data.month)}</b> this month</span> <${Change} of=${change(size(data.month), size(data.lastMonth))} against="vs last" /></p>
      <${Sparkline} values=${perDay(data.days, metric)} label=${`${METRICS[metric].label} per day of the last ${DAYS} days`} />
    </section>
  `;
}

function perDay(answer, metric) {
  const byDay = new Map(answer.points.map((point) => [keyOf(point.at, "day", answer.timezone), heightOf(amountOf(point, metric))]));
  const first = localDate(answer.from, answer.timezone);
  return Array.from({ length: DAYS + 1 }, (_, index) => byDay.get(plusDays(first, index)) ?? 0);
}

function Users({ data }) {
  const size = (answer) => answer.groups.filter((row) => row.requests > 0).length;
  const refused = data.today.totals.denied;
  const failed = data.today.totals.failed;
  const many = (amount) => (amount >= 1000 ? "1000+" : amount);
  return html`
    <section class="tile" aria-label="Users">
      <h2 class="tile-name" title="Users with at least one call">Users today</h2>
      <p class="tile-amount number" title="Users with at least one call since midnight">${many(size(data.today))}</p>
      <p class="tile-second"><${Change} of=${change(size(data.today), size(data.yesterday))} against="vs yesterday by now" /></p>
      <p class="tile-second"><span title="Users with at least one call since the first of the month"><b>${many(size(data.month))}</b> this month</span></p>
      <p class="tile-second"><a href="#/records?outcome=denied&range=today" title="Calls refused by limits today"><b class="number">${refused}</b> refused</a> <a href="#/records?outcome=upstream_error&range=today" title="Calls failed by the provider or on the way to it today"><b class="number">${failed}</b> failed</a></p>
    </section>
  `;
}
