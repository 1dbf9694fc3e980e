// Models and prices: what each costs, how fast and how reliable it is, what is not priced, what could be saved.

import { html } from "../vendor/preact-htm.js";
import { get, inZone, offers } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href, periodOf, setQuery } from "../client/route.js";
import { usualInterval } from "../words/intervals.js";
import { groupName } from "../words/metrics.js";
import { withUnanswered } from "../words/models.js";
import { count, duration, percent } from "../words/numbers.js";
import { Badge, Cost, Count, Share, Usd } from "../parts/amounts.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { RangePicker, Segments } from "../parts/fields.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { PriceTable } from "../parts/price_table.js";
import { Savings } from "../parts/savings.js";
import { Empty, Loaded } from "../parts/states.js";
import { SeriesCsv, UsageChart, useSeries } from "../parts/usage_chart.js";
import { Unpriced } from "../parts/unpriced.js";

const METRICS = { cost_usd: "Cost", total_tokens: "Tokens", requests: "Calls", failed: "Failed" };

export function View({ query }) {
  const period = query.range || query.from || query.to ? periodOf(query) : { range: "30d" };
  const metric = query.metric in METRICS ? query.metric : "cost_usd";
  const table = useLoad((signal) => load(period, signal), [JSON.stringify(period)]);
  const series = useSeries({ query: period, interval: usualInterval(period), group: "model", metric });
  const rows = table.data ?? [];
  return html`
    <div class="view">
    <${ViewHead} title="Models and prices" explain="Cost, speed and reliability of every model in use, and the price table in force."><${RangePicker} query=${query} /><//>
    <${Unpriced} rows=${rows.filter((row) => row.unpriced)} period=${period} />
    <${Panel} title=${`${METRICS[metric]} by model`} actions=${html`<${Segments} label="Shown" value=${metric} options=${METRICS} onChange=${(name) => setQuery({ metric: name })} /><${SeriesCsv} of=${series} metric=${metric} name=${`models-${metric}`} />`}>
      <${UsageChart} of=${series} group="model" metric=${metric} height=${240} />
    <//>
    <${Panel} title="Models in use" actions=${html`<${TableCsv} name="models" columns=${columnsOf(period)} rows=${rows} />`}>
      <${Loaded} of=${table} rows=${8} isEmpty=${() => !rows.length} empty=${html`<${Empty} title="No calls in this period" />`}>
        ${() => html`<${DataTable} caption="Models in use" columns=${columnsOf(period)} rows=${rows} isCards sortBy="cost_usd" keyOf=${(row) => `${row.provider}/${row.model}`} />`}
      <//>
    <//>
    ${offers("GET", "/recommendations") && html`<${Savings} period=${period} used=${rows} />`}
    <${PriceTable} query=${query} used=${rows} />
    </div>
  `;
}

/** What each model used and cost, and how fast it answered: sums of all calls, percentiles of the newest. */
async function load(period, signal) {
  const [summary, speeds] = await Promise.all([
    get("usage/summary", inZone({ ...period, group_by: "provider,model" }), signal),
    get("usage/performance", inZone(period), signal),
  ]);
  const byName = new Map(speeds.rows.map((row) => [`${row.provider}/${row.model}`, row]));
  return withUnanswered(summary.groups.filter((row) => row.requests)).map((row) => ({ ...row, pace: byName.get(`${row.provider}/${row.model}`) ?? {} }));
}

/** Answered in full, of what reached the provider and was not given up by the client. */
export function successRate(row) {
  const tried = row.requests - row.denied - row.client_aborted;
  return tried > 0 ? row.ok / tried : null;
}

/** Output tokens a second between first and last byte, from the means; where there is a stream to speak of. */
export function speed(row) {
  const { duration_ms: whole, time_to_first_byte_ms: first, output_tokens: output } = row.averages ?? {};
  return whole && first !== null && whole - first > 50 && output ? (output * 1000) / (whole - first) : null;
}

const rateTone = (rate) => (rate === null ? "calm" : rate >= 0.99 ? "good" : rate >= 0.95 ? "warn" : "bad");
const cacheShare = (row) => (row.input_tokens ? row.cache_read_tokens / row.input_tokens : null);

const paceText = ({ pace }) =>
  pace.sample ? `first byte: median ${duration(pace.time_to_first_byte_p50_ms)}, p95 ${duration(pace.time_to_first_byte_p95_ms)}, p99 ${duration(pace.time_to_first_byte_p99_ms)}; whole answer: median ${duration(pace.duration_p50_ms)}, p95 ${duration(pace.duration_p95_ms)}; of the newest ${count(pace.sample)} answered calls` : "No answered call among the newest";

const columnsOf = (period) => [
  { key: "model", head: "Model", sort: (row) => groupName(row.model), csv: (row) => row.model, cell: (row) => html`<span class="two-lines">${row.model ? html`<a href=${href("explore", { ...period, model: row.model, group_by: "user" })}>${row.model}</a>` : html`<span>${groupName(row.model)}</span>`}<span class="small">${row.provider}</span></span>` },
  { key: "requests", head: "Calls", isNumber: true, sort: (row) => row.requests, csv: (row) => row.requests, cell: (row) => html`<${Count} of=${row.requests} what="calls" />` },
  { key: "total_tokens", head: "Tokens", isNumber: true, isMinor: true, sort: (row) => row.total_tokens, csv: (row) => row.total_tokens, cell: (row) => html`<${Count} short of=${row.total_tokens} what="tokens" />` },
  { key: "cost_usd", head: "Cost", isNumber: true, sort: (row) => Number(row.cost_usd), csv: (row) => row.cost_usd, cell: (row) => html`<${Cost} row=${row} />` },
  { key: "share", head: "Share", explain: "Share of the cost", isNumber: true, isMinor: true, cell: (row) => html`<${Share} of=${row.share?.cost_usd} />` },
  { key: "mean", head: "Per call", explain: "Mean cost of an answered call", isNumber: true, isMinor: true, sort: (row) => Number(row.averages?.cost_usd), csv: (row) => row.averages?.cost_usd, cell: (row) => html`<${Usd} of=${row.averages?.cost_usd ?? null} />` },
  { key: "first", head: "First byte", explain: "Time to the provider’s first byte: half of the calls are faster (median of the newest answered calls)", isNumber: true, sort: (row) => row.pace.time_to_first_byte_p50_ms, csv: (row) => row.pace.time_to_first_byte_p50_ms, csvHead: "time_to_first_byte_p50_ms", cell: (row) => html`<span title=${paceText(row)}>${duration(row.pace.time_to_first_byte_p50_ms)}</span>` },
  { key: "slow", head: "p95", explain: "Time to the first byte that 95 of 100 calls keep", isNumber: true, isMinor: true, sort: (row) => row.pace.time_to_first_byte_p95_ms, csv: (row) => row.pace.time_to_first_byte_p95_ms, csvHead: "time_to_first_byte_p95_ms", cell: (row) => html`<span class="muted" title=${paceText(row)}>${duration(row.pace.time_to_first_byte_p95_ms)}</span>` },
  { key: "speed", head: "Tokens/s", explain: "Output tokens a second between first and last byte, from the means", isNumber: true, isMinor: true, sort: speed, csv: speed, cell: (row) => html`<span title="Output tokens a second">${speed(row) === null ? "–" : count(speed(row))}</span>` },
  { key: "cache", head: "From cache", explain: "Share of the input that the provider took from its cache", isNumber: true, isMinor: true, sort: cacheShare, csv: cacheShare, cell: (row) => html`<span title=${`${count(row.cache_read_tokens)} of ${count(row.input_tokens)} input tokens`}>${percent(cacheShare(row), 0)}</span>` },
  { key: "success", head: "Success", explain: "Answered in full, of the calls that reached the provider and were not given up by the client", isNumber: true, sort: successRate, csv: successRate, cell: (row) => html`<${Badge} tone=${rateTone(successRate(row))} title=${`${row.ok} ok, ${row.failed} failed, ${row.denied} refused, ${row.client_aborted} given up by the client${row.unanswered ? `; ${row.unanswered} of them asked for it and got no answer` : ""}`}>${percent(successRate(row))}<//>` },
];
