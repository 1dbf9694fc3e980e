// Users and teams: who uses how much, how near each is to a limit, and where their month will end.

import { html } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href, setQuery } from "../client/route.js";
import { Badge, Count, Usd } from "../parts/amounts.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { Segments } from "../parts/fields.js";
import { LimitLegend, LimitLine, limitHolder, limitWords } from "../parts/limit_bar.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";

/** Users, or teams, with today, this month, the forecast and the fullest limit beside each other. */
async function load(kind, signal) {
  const sum = (range) => get("usage/summary", inZone({ range, group_by: kind }), signal);
  const list = (range) => (kind === "user" ? get("users", inZone({ range }), signal).then((answer) => answer.users) : sum(range).then((answer) => answer.groups));
  const [month, today, projection, limits, stops] = await Promise.all([
    list("this_month"),
    list("today"),
    get("usage/projection", inZone({ group_by: kind }), signal),
    get("limits", { limit: 10_000 }, signal),
    get("switch", {}, signal),
  ]);
  return joined(kind, { month, today, projection: projection.groups ?? [], limits: limits.limits, stops: stops.stops });
}

function joined(kind, { month, today, projection, limits, stops }) {
  const byName = (rows) => new Map(rows.map((row) => [row[kind], row]));
  const [todays, expected] = [byName(today), byName(projection)];
  const fullest = new Map();
  const names = new Set(month.map((row) => row[kind]));
  for (const limit of limits) {
    const holder = limitHolder(limit);
    if (holder.kind === kind && isFuller(limit, fullest.get(holder.name))) fullest.set(holder.name, limit);
    if (holder.kind === kind && !names.has(holder.name)) names.add(holder.name) && month.push({ [kind]: holder.name, requests: 0, total_tokens: 0, cost_usd: "0" });
  }
  return month
    .filter((row) => row[kind])
    .map((row) => ({
      ...row,
      name: row[kind],
      today: todays.get(row[kind]) ?? { requests: 0, total_tokens: 0, cost_usd: "0" },
      expected: expected.get(row[kind]) ?? null,
      limit: fullest.get(row[kind]) ?? null,
      status: statusOf(kind, row[kind], fullest.get(row[kind]), stops),
    }));
}

/** A limit that is full counts before all; of the others a day's or a month's before a minute's, which comes and goes. */
function isFuller(limit, other) {
  const weight = (one) => ((one.fraction ?? 0) >= 1 ? 4 : ["minute", "hour", null, undefined].includes(one.window) ? 0 : 2) + (one.fraction ?? 0);
  return !other || weight(limit) > weight(other);
}

export function statusOf(kind, name, limit, stops) {
  if (stops.some((stop) => stop.scope === "all" || (stop.scope === kind && stop.value === name))) return "stopped";
  const fraction = limit?.fraction;
  return fraction === undefined || fraction === null ? "free" : fraction >= 1 ? "at limit" : fraction >= 0.8 ? "near" : "ok";
}

const STATUS = {
  stopped: ["bad", "An emergency stop refuses their calls"],
  "at limit": ["bad", "A limit is full: calls are refused until it begins anew"],
  near: ["warn", "A limit is filled to 80 % or more"],
  ok: ["good", "Room in every limit"],
  free: ["calm", "No limit is known"],
};
const ORDER = Object.keys(STATUS);
export const Status = ({ of }) => html`<${Badge} tone=${STATUS[of][0]} title=${STATUS[of][1]}>${of}<//>`;

export function View({ query }) {
  const kind = query.show === "teams" ? "team" : "user";
  const found = useLoad((signal) => load(kind, signal), [kind], { every: 60 });
  const search = (query.search ?? "").toLowerCase();
  const rows = (found.data ?? []).filter((row) => row.name.toLowerCase().includes(search) && (!query.team || row.team === query.team));
  const columns = columnsOf(kind);
  return html`
    <div class="view">
    <${ViewHead} title="Users and teams" explain="Today and this month, the fullest limit of each, and where the month will end.">
      <${Segments} label="Show" value=${kind === "team" ? "teams" : "users"} options=${{ users: "Users", teams: "Teams" }} onChange=${(name) => setQuery({ show: name, team: null })} />
    <//>
    <${Panel} title=${html`<span class="number">${rows.length}</span> ${kind}${rows.length === 1 ? "" : "s"}`}
      actions=${html`<input data-search type="search" aria-label=${`Search ${kind}s`} placeholder="search…" value=${query.search ?? ""} onInput=${(event) => setQuery({ search: event.target.value })} />
        ${query.team && html`<button class="quiet-button" onClick=${() => setQuery({ team: null })}>team ${query.team} ×</button>`}<${TableCsv} name=${`${kind}s`} columns=${columns} rows=${rows} />`}>
      <${Loaded} of=${found} rows=${8} isEmpty=${() => !rows.length} empty=${html`<${Empty} title=${search || query.team ? "Nobody matches" : `No ${kind}s yet`}>${search ? "Try a shorter word." : "They appear with their first call, or when a key names them."}<//>`}>
        ${() => html`<${DataTable} key=${kind} caption=${`${kind}s and their use`} columns=${columns} rows=${rows} sortBy="month_cost" isCards keyOf=${(row) => row.name} /><${LimitLegend} />`}
      <//>
    <//>
    </div>
  `;
}

function columnsOf(kind) {
  const target = (row) => (kind === "user" ? href("user", {}, row.name) : href("users", { team: row.name }));
  const money = (key, head, explain, of, more) => ({ key, head, explain, isNumber: true, sort: (row) => Number(of(row) ?? 0), cell: (row) => html`<${Usd} of=${of(row)} />`, csv: of, ...more });
  const tokens = (key, head, explain, of, more) => ({ key, head, explain, isNumber: true, sort: of, cell: (row) => html`<${Count} short of=${of(row)} what="tokens" />`, csv: of, ...more });
  return [
    { key: "name", head: kind === "user" ? "User" : "Team", sort: (row) => row.name, csv: (row) => row.name, cell: (row) => html`<a href=${target(row)}>${row.name}</a>${row.tier ? html` <${Badge} tone="accent" title="Tier">${row.tier}<//>` : ""}` },
    ...(kind === "user" ? [{ key: "team", head: "Team", sort: (row) => row.team, csv: (row) => row.team, isMinor: true, cell: (row) => row.team ?? "–" }] : []),
    tokens("today_tokens", "Tokens today", "Tokens since midnight", (row) => row.today.total_tokens, { isMinor: true }),
    money("today_cost", "Cost today", "Cost since midnight", (row) => row.today.cost_usd, { isMinor: true }),
    tokens("month_tokens", "Tokens, month", "Tokens since the first of the month", (row) => row.total_tokens),
    money("month_cost", "Cost, month", "Cost since the first of the month", (row) => row.cost_usd),
    money("expected", "Expected", "What the month will probably cost, from the days so far", (row) => row.expected?.cost_usd.expected ?? row.cost_usd, { isMinor: true }),
    { key: "limit", head: "Fullest limit", explain: "Settled, held and remaining of the limit that is nearest to its amount", isFill: true, sort: (row) => row.limit?.fraction ?? -1, csv: (row) => row.limit?.fraction, csvHead: "fullest_limit_fraction",
      cell: (row) => (row.limit ? html`<${LimitLine} limit=${row.limit} head=${html`<span class="small muted">${limitWords(row.limit)}</span>`} />` : html`<span class="muted">none</span>`) },
    { key: "status", head: "Status", isCorner: true, explain: "Stopped, at a limit, near one (80 %), or free to go", sort: (row) => -ORDER.indexOf(row.status), csv: (row) => row.status, cell: (row) => html`<${Status} of=${row.status} />` },
  ];
}
