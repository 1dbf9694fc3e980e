// Alerts: what is worth telling, what became of it, and where it is sent.

import { html } from "../vendor/preact-htm.js";
import { get, inZone, offers, send } from "../client/api.js";
import { refreshAll, useLoad } from "../client/load.js";
import { href, periodOf, setQuery } from "../client/route.js";
import { wordsOf } from "../words/alerts.js";
import { Badge, Severity, When } from "../parts/amounts.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { Deliveries, Destinations } from "../parts/destinations.js";
import { RangePicker, Segments, Select } from "../parts/fields.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { attempt } from "../parts/toasts.js";

const STATES = { open: "Open", acknowledged: "Acknowledged", dismissed: "Dismissed", resolved: "Resolved", all: "All" };
const KINDS = ["daily", "monthly", "burst", "cost", "budget", "anomaly", "unpriced_model", "usage_missing", "ledger_behind", "store_away", "provider_failing", "config_refused"];
const SEVERITIES = { "": "any severity", critical: "critical", warning: "warning", info: "info" };
const words = (kind) => kind.replaceAll("_", " ");

export function View({ query, part }) {
  const state = query.state in STATES ? query.state : "open";
  const asked = { ...(query.range || query.from ? periodOf(query) : { range: "30d" }), state: state === "all" ? undefined : state, kind: query.kind, severity: query.severity, limit: 500 };
  const load = useLoad((signal) => get("alerts", inZone(asked), signal), [JSON.stringify(asked)], { every: 20 });
  const rows = load.data?.alerts ?? [];
  const kinds = { "": "any kind", ...Object.fromEntries(KINDS.map((kind) => [kind, words(kind)])) };
  return html`
    <div class="view">
    <${ViewHead} title="Alerts" explain="Each is raised once for its window and threshold."><${RangePicker} query=${query} /><//>
    <${Panel} title=${html`<${Segments} label="State" value=${state} options=${STATES} onChange=${(name) => setQuery({ state: name })} />`}
      actions=${html`<${Select} label="Kind" hideLabel value=${query.kind ?? ""} options=${kinds} onChange=${(kind) => setQuery({ kind })} /><${Select} label="Severity" hideLabel value=${query.severity ?? ""} options=${SEVERITIES} onChange=${(severity) => setQuery({ severity })} /><${TableCsv} name="alerts" columns=${COLUMNS} rows=${rows} />`}>
      <${Loaded} of=${load} rows=${6} isEmpty=${() => !rows.length} empty=${html`<${Empty} title=${state === "open" ? "Nothing is open" : "No such alerts"}>${state === "open" ? "Alerts come when a limit fills, a day stands out, or the house needs help." : "Choose another state, kind or period."}<//>`}>
        ${() => html`<${DataTable} caption="Alerts, newest first" columns=${COLUMNS} rows=${rows} sortBy="at" isCards keyOf=${(row) => row.id} rowClass=${(row) => (row.id === part ? "row-here" : ["dismissed", "resolved"].includes(row.state) ? "row-off" : "")} />`}
      <//>
    <//>
    <${Destinations} isOffered=${offers("GET", "/alerts/destinations")} />
    ${offers("GET", "/alerts/deliveries") && html`<${Deliveries} />`}
    </div>
  `;
}

const aboutOf = (row) => row.user ?? (row.team ? `team ${row.team}` : (row.facts?.model ?? row.facts?.provider ?? null));

/** A link to what the alert is about: the user, the team, the model, the provider's calls, or the house. */
function aboutCell(row) {
  const { model, provider } = row.facts ?? {};
  if (row.user) return html`<a href=${href("user", {}, row.user)}>${row.user}</a>`;
  if (row.team) return html`<a href=${href("users", { team: row.team })}>team ${row.team}</a>`;
  if (model) return html`<a href=${href("records", { model, range: "7d" })}>${model}</a>`;
  if (provider) return html`<a href=${href("explore", { provider, group_by: "outcome", metric: "requests", range: "24h" })}>${provider}</a>`;
  return html`<a href="#/system">the house</a>`;
}

const set = (alert, verb, done) => async () => {
  if (await attempt(() => send("POST", `alerts/${encodeURIComponent(alert.id)}/${verb}`), done)) refreshAll();
};
const TONES = { open: "accent", acknowledged: "warn", dismissed: "calm", resolved: "good" };

const COLUMNS = [
  { key: "severity", head: "Severity", explain: "Critical: calls are refused or lost now; warning: soon; info: good to know", sort: (row) => ["info", "warning", "critical"].indexOf(row.severity), csv: (row) => row.severity, cell: (row) => html`<${Severity} of=${row.severity} />` },
  { key: "title", head: "Alert", csv: (row) => row.title, isMain: true, cell: (row) => html`<span class="two-lines" title=${wordsOf(row).exact}><span>${wordsOf(row).title}</span><span class="small">${wordsOf(row).text}</span></span>` },
  { key: "kind", head: "Kind", explain: "What raises it: a limit that fills, a day that stands out, the house itself", isMinor: true, sort: (row) => row.kind, csv: (row) => row.kind, cell: (row) => words(row.kind) },
  { key: "about", head: "About", explain: "Whom or what to look at", sort: aboutOf, csv: aboutOf, csvHead: "about", cell: aboutCell },
  { key: "at", head: "Raised", explain: "When it was found", sort: (row) => row.at, csv: (row) => row.at, cell: (row) => html`<${When} at=${row.at} />` },
  { key: "state", head: "State", isMinor: true, sort: (row) => row.state, csv: (row) => row.state, explain: "What became of it, and by whom", cell: (row) => html`<span class="two-lines"><span><${Badge} tone=${TONES[row.state]}>${row.state}<//></span>${row.changed_by ? html`<span class="small">by ${row.changed_by}, <${When} at=${row.changed_at} /></span>` : ""}</span>` },
  { key: "actions", head: html`<span class="unseen">Actions</span>`, isActions: true, cell: (row) => html`<span class="row-actions">
      ${row.state === "open" && html`<button class="quiet-button" title="Seen, and being worked on" onClick=${set(row, "acknowledge", "Acknowledged")}>Acknowledge</button>`}
      ${!["dismissed", "resolved"].includes(row.state) && html`<button class="quiet-button" title="Seen, and nothing to be done" onClick=${set(row, "dismiss", "Dismissed")}>Dismiss</button>`}
    </span>` },
];
