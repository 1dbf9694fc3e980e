// The lists of the overview: what wants a look, who is near a limit, who and what uses most.

import { html } from "../vendor/preact-htm.js";
import { get } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href } from "../client/route.js";
import { wordsOf } from "../words/alerts.js";
import { groupName } from "../words/metrics.js";
import { Cost, Count, Severity, Share, When } from "./amounts.js";
import { DataTable, TableCsv } from "./data_table.js";
import { LimitLegend, LimitLine, limitHolder, limitWords } from "./limit_bar.js";
import { Panel } from "./panel.js";
import { Empty, Loaded } from "./states.js";

/** Stops in force, refused configuration, a ledger that is away, open alerts: only where there are any. */
export function Attention({ stats }) {
  const stops = useLoad((signal) => get("switch", {}, signal), [], { every: 60 });
  const health = stats.data?.health;
  const alerts = stats.data?.alerts ?? [];
  return html`
    <div class="attention">
    ${(stops.data?.stops ?? []).map((stop) => html`<p class="note note-bad" key=${stop.scope + stop.value}><span><b>Stopped: ${stop.scope === "all" ? "everything" : `${stop.scope} ${stop.value}`}.</b> ${stop.reason}</span><a class="button" href="#/limits">Emergency stop</a></p>`)}
    ${health?.config_mistakes?.length > 0 && html`<p class="note note-bad"><span><b>A changed configuration was refused.</b> The last good one stays in force.</span><a class="button" href="#/limits">Show the mistakes</a></p>`}
    ${(health?.spool?.is_ledger_away ?? health?.spool?.ledger_away) && html`<p class="note note-warn"><span><b>The ledger is away.</b> Calls go on; their records wait in the spool.</span><a class="button" href="#/system">System</a></p>`}
    ${alerts.length > 0 && html`<${OpenAlerts} alerts=${alerts} />`}
    </div>
  `;
}

const OpenAlerts = ({ alerts }) => html`
  <${Panel} title=${`Open alerts (${alerts.length}${alerts.length >= 10 ? " or more" : ""})`} actions=${html`<a class="quiet-button" href=${href("alerts", { state: "open" })}>All alerts</a>`}>
    <ul class="alert-list">
      ${alerts.slice(0, 4).map((alert) => html`<li key=${alert.id}><${Severity} of=${alert.severity} /><a href=${href("alerts", { state: "open" }, alert.id)} title=${wordsOf(alert).exact}>${wordsOf(alert).title}</a><span class="small muted"><${When} at=${alert.at} /></span></li>`)}
    </ul>
  <//>
`;

export const NearLimits = ({ stats }) => html`
  <${Panel} title="Fullest limits" explain="Limits that are nearest to their amount" actions=${html`<a class="quiet-button" href="#/limits">All limits</a>`}>
    <${Loaded} of=${stats} rows=${6} isEmpty=${(data) => !data.limits.length} empty=${html`<${Empty} title="No limits are set">Set them in limits.yaml, or on a user’s page.<//>`}>
      ${(data) => html`<div class="limit-list">${data.limits.slice(0, 6).map((limit) => html`<${LimitItem} key=${limit.counter + limit.name} limit=${limit} />`)}<${LimitLegend} /></div>`}
    <//>
  <//>
`;

function LimitItem({ limit }) {
  const holder = limitHolder(limit);
  const target = holder.kind === "user" ? href("user", {}, holder.name) : holder.kind === "team" ? href("users", { team: holder.name }) : "#/limits";
  const name = holder.kind === "global" ? "everyone" : holder.kind === "user" ? holder.name : `${holder.kind} ${holder.name}`;
  return html`<${LimitLine} limit=${limit} head=${html`<a href=${target}>${name}</a> <span class="small muted">${limitWords(limit)}</span>`} />`;
}

export function TopTable({ stats, of, title, period }) {
  const target = (row) => (of === "user" ? href("user", {}, row.user) : href("explore", { ...period, [of]: row[of], group_by: "user" }));
  const columns = [
    { key: "name", explain: `Open this ${of}`, head: title.replace("Top ", "").replace(/s$/, "").replace(/^./, (letter) => letter.toUpperCase()), cell: (row) => (row[of] ? html`<a class="clip" href=${target(row)}>${row[of]}</a>` : groupName(row[of])), csv: (row) => row[of] },
    { key: "total_tokens", head: "Tokens", isNumber: true, sort: (row) => row.total_tokens, cell: (row) => html`<${Count} short of=${row.total_tokens} what="tokens" />`, csv: (row) => row.total_tokens },
    { key: "cost_usd", head: "Cost", isNumber: true, sort: (row) => Number(row.cost_usd), cell: (row) => html`<${Cost} row=${row} />`, csv: (row) => row.cost_usd },
    { key: "share", head: "Share", explain: "Share of the period’s cost", isNumber: true, cell: (row) => html`<${Share} of=${row.share?.cost_usd} />` },
  ];
  const rows = stats.data?.by?.[of] ?? [];
  return html`
    <${Panel} title=${title} actions=${html`<${TableCsv} name=${`top-${of}s`} columns=${columns} rows=${rows} />`}>
      <${Loaded} of=${stats} rows=${6} isEmpty=${() => !rows.length} empty=${html`<${Empty} title="No calls in this period" />`}>
        ${() => html`<${DataTable} caption=${title} columns=${columns} rows=${rows.slice(0, 8)} sortBy="cost_usd" keyOf=${(row) => row[of]} />`}
      <//>
    <//>
  `;
}
