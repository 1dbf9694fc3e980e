// One person's use, as the admin sees it and as they see it themselves: history, limits, models, operations, sessions.

import { html } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href, route, setQuery } from "../client/route.js";
import { usualInterval } from "../words/intervals.js";
import { groupName } from "../words/metrics.js";
import { Badge, Cost, Count, Share, Usd, When } from "./amounts.js";
import { DataTable, TableCsv } from "./data_table.js";
import { Segments } from "./fields.js";
import { LimitBar, LimitLegend, limitHolder, limitWords, toneOf } from "./limit_bar.js";
import { MonthForecast } from "./month_forecast.js";
import { Panel } from "./panel.js";
import { Empty, Loaded } from "./states.js";
import { Tiles } from "./tiles.js";
import { SeriesCsv, UsageChart, useSeries } from "./usage_chart.js";

const METRICS = { cost_usd: "Cost", total_tokens: "Tokens", requests: "Calls" };

export function PersonUsage({ data, user, period }) {
  const asked = route().query.metric;
  const metric = asked in METRICS ? asked : "cost_usd";
  const series = useSeries({ query: { ...period, user }, interval: usualInterval(period), group: "model", metric });
  const controls = html`<${Segments} label="Shown" value=${metric} options=${METRICS} onChange=${(name) => setQuery({ metric: name })} /><${SeriesCsv} of=${series} metric=${metric} name=${`${user}-${metric}`} />`;
  return html`
    <div class="stack">
      <${Tiles} filters=${{ user }} withUsers=${false} />
      <${LimitsPanel} limits=${data.limits} />
      <div class="grid grid-stretch">
        <div class="span-8"><${Panel} title=${`${METRICS[metric]} by model`} actions=${controls}><${UsageChart} of=${series} group="model" metric=${metric} filters=${{ user }} height=${240} /><//></div>
        <div class="span-4"><${MonthForecast} metric=${metric} filters=${{ user }} /></div>
      </div>
      <div class="grid">
        <div class="span-6"><${Models} rows=${data.models} user=${user} period=${period} /></div>
        <div class="span-6"><${Operations} user=${user} period=${period} /></div>
      </div>
      <${Sessions} rows=${data.sessions} user=${user} />
    </div>
  `;
}

export function LimitsPanel({ limits }) {
  const columns = [
    { key: "what", head: "Limit", explain: "What is counted, and how often the count begins anew", sort: (row) => row.name, csv: (row) => row.name, cell: (row) => html`<span title=${row.name}>${limitWords(row)}</span>` },
    { key: "whose", head: "Counts", explain: "Whose calls fill it", isMinor: true, csv: (row) => row.counter, cell: (row) => whose(row) },
    { key: "bar", head: "Settled, held, remaining", explain: "Settled: used by finished calls. Held: reserved by calls in flight. Remaining: free for new ones", isFill: true, sort: (row) => row.fraction, csv: (row) => row.fraction, csvHead: "fraction", cell: (row) => html`<${LimitBar} limit=${row} />` },
    { key: "resets", head: "Begins anew", explain: "When the window ends and the count starts from nothing", isMinor: true, csv: (row) => row.resets_at, cell: (row) => html`<${When} at=${row.resets_at} none="–" />` },
    { key: "mode", head: "Mode", explain: "Strict holds the worst case and is never passed; balanced holds what such a call usually takes; soft looks only at what is settled", isMinor: true, csv: (row) => row.mode, cell: (row) => row.mode },
    { key: "origin", head: "From", explain: "Where this limit stands", isMinor: true, csv: (row) => row.origin, cell: (row) => html`<${Badge} tone=${row.origin === "override" ? "warn" : "calm"} title=${row.name}>${row.origin}<//>` },
  ];
  return html`
    <${Panel} title="Limits" explain="Every limit that applies must have room" actions=${html`<${TableCsv} name="limits" columns=${columns} rows=${limits} />`}>
      ${limits.length
        ? html`<${DataTable} caption="Limits and where they stand" columns=${columns} rows=${limits} sortBy="bar" keyOf=${(row) => row.counter + row.name} isCards rowClass=${(row) => `limit-row-${toneOf(row.fraction)}`} /><${LimitLegend} />`
        : html`<${Empty} title="No limits">Nothing holds these calls back.<//>`}
    <//>
  `;
}

function whose(row) {
  const holder = limitHolder(row);
  return holder.kind === "user" ? "this user" : holder.kind === "global" ? "everyone" : `${holder.kind} ${holder.name}`;
}

const usageColumns = (of, head, link) => [
  { key: "name", head, sort: (row) => row[of], csv: (row) => row[of], cell: (row) => (row[of] ? html`<a class="clip" href=${link(row)}>${row[of]}</a>` : groupName(row[of])) },
  { key: "requests", head: "Calls", isNumber: true, sort: (row) => row.requests, csv: (row) => row.requests, cell: (row) => html`<${Count} of=${row.requests} what="calls" />` },
  { key: "total_tokens", head: "Tokens", isNumber: true, sort: (row) => row.total_tokens, csv: (row) => row.total_tokens, cell: (row) => html`<${Count} short of=${row.total_tokens} what="tokens" />` },
  { key: "cost_usd", head: "Cost", isNumber: true, sort: (row) => Number(row.cost_usd), csv: (row) => row.cost_usd, cell: (row) => html`<${Cost} row=${row} />` },
  { key: "share", head: "Share", explain: "Share of this user’s cost", isNumber: true, isMinor: true, cell: (row) => html`<${Share} of=${row.share?.cost_usd} />` },
];

function Models({ rows, user, period }) {
  const columns = usageColumns("model", "Model", (row) => href("records", { user, model: row.model, ...period }));
  return html`<${Panel} title="Models" actions=${html`<${TableCsv} name=${`${user}-models`} columns=${columns} rows=${rows} />`}>
    ${rows.length ? html`<${DataTable} caption="Models used" columns=${columns} rows=${rows} sortBy="cost_usd" keyOf=${(row) => row.model} most=${12} />` : html`<${Empty} title="No calls in this period" />`}
  <//>`;
}

function Operations({ user, period }) {
  const load = useLoad((signal) => get("usage/summary", inZone({ ...period, user, group_by: "operation", limit: 100 }), signal), [user, JSON.stringify(period)]);
  const columns = usageColumns("operation", "Operation", (row) => href("records", { user, operation: row.operation, ...period }));
  return html`<${Panel} title="Operations" explain="By the label x-weighbridge-operation" actions=${html`<${TableCsv} name=${`${user}-operations`} columns=${columns} rows=${load.data?.groups ?? []} />`}>
    <${Loaded} of=${load} isEmpty=${(data) => !data.groups.length} empty=${html`<${Empty} title="No calls in this period" />`}>
      ${(data) => html`<${DataTable} caption="Operations" columns=${columns} rows=${data.groups} sortBy="cost_usd" keyOf=${(row) => row.operation} most=${12} />`}
    <//>
  <//>`;
}

function Sessions({ rows, user }) {
  const columns = [
    { key: "session", head: "Session", cell: (row) => html`<a class="clip" href=${href("records", { user, session: row.session, range: "90d" })}>${row.session ?? "(none)"}</a>`, csv: (row) => row.session },
    { key: "last_at", head: "Last call", explain: "When its latest call began", sort: (row) => row.last_at, cell: (row) => html`<${When} at=${row.last_at} />`, csv: (row) => row.last_at },
    { key: "first_at", head: "First call", explain: "When its first call began", isMinor: true, sort: (row) => row.first_at, cell: (row) => html`<${When} at=${row.first_at} />`, csv: (row) => row.first_at },
    { key: "requests", head: "Calls", isNumber: true, sort: (row) => row.requests, cell: (row) => html`<${Count} of=${row.requests} what="calls" />`, csv: (row) => row.requests },
    { key: "total_tokens", head: "Tokens", isNumber: true, sort: (row) => row.total_tokens, cell: (row) => html`<${Count} short of=${row.total_tokens} what="tokens" />`, csv: (row) => row.total_tokens },
    { key: "cost_usd", head: "Cost", isNumber: true, sort: (row) => Number(row.cost_usd), cell: (row) => html`<${Usd} of=${row.cost_usd} />`, csv: (row) => row.cost_usd },
  ];
  return html`<${Panel} title="Last sessions" explain="The last 50, by the label x-weighbridge-session" actions=${html`<${TableCsv} name=${`${user}-sessions`} columns=${columns} rows=${rows} />`}>
    ${rows.length ? html`<${DataTable} caption="Last sessions" columns=${columns} rows=${rows} sortBy="last_at" keyOf=${(row) => row.session} most=${15} />` : html`<${Empty} title="No sessions">Applications name them with x-weighbridge-session.<//>`}
  <//>`;
}
