// Explore: one question over all usage: which calls, by what, when, measured how. Chart and table answer in step.

import { html, useState } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { go, href, periodOf, setQuery } from "../client/route.js";
import { seesAll } from "../client/session.js";
import { INTERVALS, usualInterval } from "../words/intervals.js";
import { GROUPS, METRICS, amountOf, groupName, heightOf } from "../words/metrics.js";
import { duration, percent } from "../words/numbers.js";
import { Cost, Count, Share, Usd } from "../parts/amounts.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { RangePicker, Select } from "../parts/fields.js";
import { FilterBar, filtersOf } from "../parts/filters.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { SeriesCsv, UsageChart, useSeries } from "../parts/usage_chart.js";

const FILTERABLE = ["model", "provider", "team", "user", "operation", "key", "outcome", "session"];

export function View({ query }) {
  const period = query.range || query.from || query.to ? periodOf(query) : { range: "30d" };
  const filters = filtersOf(query);
  const metric = query.metric in METRICS ? query.metric : "cost_usd";
  const group = query.group_by in GROUPS ? query.group_by : query.group_by === "nothing" ? null : "model";
  const interval = query.interval in INTERVALS ? query.interval : usualInterval(period);
  const [marked, mark] = useState(null);
  const asked = { ...period, ...filters };
  const series = useSeries({ query: asked, interval, group, metric });
  const table = useLoad((signal) => get("usage/summary", inZone({ ...asked, group_by: group ?? undefined, compare: true }), signal), [JSON.stringify(asked), group]);
  const groups = Object.fromEntries(Object.entries(GROUPS).filter(([name]) => seesAll() || !["user", "team"].includes(name)));
  const only = group && FILTERABLE.includes(group) ? (one) => one.group && narrow(query, group, one.group) : null;
  return html`
    <div class="view">
    <${ViewHead} title="Explore" explain="Press a column to see its calls; press a name to narrow down to it."><${RangePicker} query=${query} /><//>
    <${Panel} actions=${html`<${SeriesCsv} of=${series} metric=${metric} name=${`${metric}-by-${group ?? "time"}`} />`} title=${html`<span>${METRICS[metric].label}${group ? ` by ${GROUPS[group].toLowerCase()}` : ""}, per ${interval}</span>`}>
      <div class="stack">
        <div class="toolbar">
        <div class="filters">
          <${Select} label="Measure" value=${metric} options=${labels(METRICS)} onChange=${(name) => setQuery({ metric: name })} />
          <${Select} label="by" value=${group ?? "nothing"} options=${{ ...groups, nothing: "Nothing" }} onChange=${(name) => setQuery({ group_by: name })} />
          <${Select} label="per" value=${interval} options=${INTERVALS} onChange=${(name) => setQuery({ interval: name })} />
        </div>
        <${FilterBar} query=${query} suggestions=${suggestionsOf(table.data, group)} />
        </div>
        <${UsageChart} of=${series} group=${group} metric=${metric} filters=${filters} height=${320} onOnly=${only} marked=${marked} />
      </div>
    <//>
    <${Groups} table=${table} group=${group} metric=${metric} asked=${asked} onMark=${mark} onOnly=${only} />
    </div>
  `;
}

const labels = (metrics) => Object.fromEntries(Object.entries(metrics).map(([name, metric]) => [name, metric.label]));
const suggestionsOf = (data, group) => (group && data?.groups ? { [group]: data.groups.map((row) => row[group]).filter(Boolean).slice(0, 200) } : {});

/** One group alone; what it was grouped by is asked of its parts next. */
function narrow(query, group, value) {
  const next = { model: "user", user: "model", team: "user", provider: "model", operation: "model", key: "model", outcome: "model", session: "model" }[group];
  go(href("explore", { ...query, [group]: value, group_by: seesAll() || next !== "user" ? next : "operation" }));
}

function Groups({ table, group, metric, asked, onMark, onOnly }) {
  const rows = table.data ? (group ? table.data.groups : [{ ...table.data.totals, averages: table.data.averages, share: { requests: 1, total_tokens: 1, cost_usd: 1 } }]) : [];
  const columns = columnsOf(group, metric, asked, onOnly);
  const hover = (row) => onMark(row && group ? groupName(row[group]) : null);
  return html`
    <${Panel} title=${group ? `${GROUPS[group]}s in this period`.replace("ys ", "ies ") : "In this period"} actions=${html`<${Before} data=${table.data} metric=${metric} /><${TableCsv} name=${`usage-by-${group ?? "all"}`} columns=${columns} rows=${rows} />`}>
      <${Loaded} of=${table} rows=${6} isEmpty=${() => !rows.some((row) => row.requests)} empty=${html`<${Empty} title="Nothing to list" />`}>
        ${() => html`<${DataTable} key=${`${group}${metric}`} caption="Usage by group" columns=${columns} rows=${rows} sortBy=${metric} isCards keyOf=${(row) => (group ? groupName(row[group]) : "all")} onHover=${hover} />`}
      <//>
    <//>
  `;
}

/** The same measure in the period of equal length before. */
function Before({ data, metric }) {
  if (!data?.previous) return null;
  const before = heightOf(amountOf(data.previous.totals, metric));
  const now = heightOf(amountOf(data.totals, metric));
  const shown = METRICS[metric].isMoney ? html`<${Usd} of=${data.previous.totals[metric]} />` : html`<${Count} of=${data.previous.totals[metric]} />`;
  return html`<span class="muted small" title="The period of equal length that ends where this one begins">before: ${shown}${before ? ` (${now >= before ? "+" : "−"}${percent(Math.abs(now - before) / before, 0)} now)` : ""}</span>`;
}

function columnsOf(group, metric, asked, onOnly) {
  const counted = (name, more = {}) => ({ key: name, head: METRICS[name].label, explain: METRICS[name].explain, isNumber: true, sort: (row) => heightOf(amountOf(row, name)), csv: (row) => row[name], csvHead: name, ...more,
    cell: (row) => (METRICS[name].isMoney ? html`<${Cost} row=${row} />` : html`<${Count} of=${row[name]} what=${METRICS[name].unit} />`) });
  const shareOf = METRICS[metric].isMoney ? "cost_usd" : METRICS[metric].unit === "calls" ? "requests" : "total_tokens";
  const name = (row) => (onOnly && row[group] ? html`<button class="link-button" title="Narrow down to this one" onClick=${() => onOnly({ group: row[group] })}>${row[group]}</button>` : groupName(row[group]));
  return [
    ...(group ? [{ key: "name", head: GROUPS[group], sort: (row) => groupName(row[group]), cell: name, csv: (row) => groupName(row[group]) }] : []),
    ...(metric in { denied: 1, failed: 1, cache_read_tokens: 1, reasoning_tokens: 1, total_tokens: 1 } ? [counted(metric)] : []),
    counted("requests"),
    counted("input_tokens", { isMinor: true }),
    counted("output_tokens", { isMinor: true }),
    counted("cost_usd"),
    { key: "share", head: "Share", explain: `Share of the period’s ${shareOf.replace("_usd", "").replace("_", " ")}`, isNumber: true, cell: (row) => html`<${Share} of=${row.share?.[shareOf]} />`, csv: (row) => row.share?.[shareOf] },
    { key: "mean", head: "Per call", explain: "Mean cost of an answered call", isNumber: true, isMinor: true, sort: (row) => Number(row.averages?.cost_usd), cell: (row) => html`<${Usd} of=${row.averages?.cost_usd ?? null} />`, csv: (row) => row.averages?.cost_usd, csvHead: "cost_usd_per_call" },
    { key: "time", head: "Took", explain: "Mean time of a call", isNumber: true, isMinor: true, sort: (row) => row.averages?.duration_ms, cell: (row) => duration(row.averages?.duration_ms), csv: (row) => row.averages?.duration_ms, csvHead: "mean_duration_ms" },
    { key: "records", head: html`<span class="unseen">Records</span>`, isActions: true, cell: (row) => html`<a href=${href("records", { ...asked, ...(group && row[group] && group !== "api" ? { [group]: row[group] } : {}) })}>records</a>` },
  ];
}
