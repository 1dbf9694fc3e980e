// Limits: who is near what, what is stopped, which configuration is in force, and what a change would have done.

import { html } from "../vendor/preact-htm.js";
import { get, offers } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href, setQuery } from "../client/route.js";
import { Badge, When } from "../parts/amounts.js";
import { ConfigInForce } from "../parts/config_in_force.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { Segments } from "../parts/fields.js";
import { LimitBar, LimitLegend, amountText, limitHolder, limitWords } from "../parts/limit_bar.js";
import { LimitTrial } from "../parts/limit_trial.js";
import { LimitsFileTrial } from "../parts/limits_file_trial.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { StopsPanel } from "../parts/stops.js";

const NEARNESS = { "0.0": "All", "0.5": "From 50 %", "0.8": "From 80 %", "1.0": "Full" };

export function View({ query }) {
  const atLeast = query.at_least in NEARNESS ? query.at_least : "0.0";
  const load = useLoad((signal) => get("limits", { limit: 10_000, at_least: atLeast }, signal), [atLeast], { every: 15 });
  const stops = useLoad((signal) => get("switch", {}, signal), [], { every: 15 });
  const search = (query.search ?? "").toLowerCase();
  const rows = (load.data?.limits ?? []).filter((row) => `${row.name} ${row.counter} ${row.origin}`.toLowerCase().includes(search));
  return html`
    <div class="view">
    <${ViewHead} title="Limits" explain="Fullest first. Held is what calls in flight may still use; it is given back or settled when they end.">
      <${Segments} label="Filled" value=${atLeast} options=${NEARNESS} onChange=${(value) => setQuery({ at_least: value === "0.0" ? null : value })} />
    <//>
    <${Panel} title=${html`<span class="number">${rows.length}</span> limits`}
      actions=${html`<input data-search type="search" aria-label="Search limits" placeholder="search…" value=${query.search ?? ""} onInput=${(event) => setQuery({ search: event.target.value })} /><${TableCsv} name="limits" columns=${COLUMNS} rows=${rows} />`}>
      <${Loaded} of=${load} rows=${8} isEmpty=${() => !rows.length} empty=${html`<${Empty} title=${atLeast === "0.0" && !search ? "No limits are set" : "No limit is that full"}>${atLeast === "0.0" && !search ? "Set them in limits.yaml, or on a user’s page." : "That is good news."}<//>`}>
        ${() => html`<${DataTable} caption="Limits, fullest first" columns=${COLUMNS} rows=${rows} sortBy="bar" isCards keyOf=${(row) => row.counter + row.name} most=${25} /><${LimitLegend} />`}
      <//>
    <//>
    <${StopsPanel} stops=${stops} />
    <${LimitTrial} />
    ${offers("POST", "/limits/simulate") && html`<${LimitsFileTrial} />`}
    <${ConfigInForce} isOffered=${offers("GET", "/config")} isOpen />
    </div>
  `;
}

const COLUMNS = [
  { key: "holder", head: "Of", explain: "Whose calls fill it", sort: (row) => row.counter, csv: (row) => row.counter, csvHead: "counter", cell: holderCell },
  { key: "what", head: "Limit", explain: "What is counted, and how often the count begins anew", isWide: true, sort: (row) => row.name, csv: (row) => row.name, csvHead: "name", cell: (row) => html`<span title=${row.name}>${limitWords(row)}</span>` },
  { key: "bar", head: "Settled, held, remaining", explain: "Settled: used by finished calls. Held: reserved by calls in flight. Remaining: free for new ones", isFill: true, sort: (row) => row.fraction, csv: (row) => row.fraction, csvHead: "fraction", cell: (row) => html`<${LimitBar} limit=${row} />` },
  { key: "used", head: "Settled", isNumber: true, isMinor: true, csv: (row) => row.used },
  { key: "reserved", head: "Held", explain: "Reserved by calls in flight", isNumber: true, isMinor: true, csv: (row) => row.reserved },
  { key: "remaining", head: "Remaining", explain: "What new calls may still use: the amount less settled and held", isNumber: true, isMinor: true, csv: (row) => row.remaining, cell: (row) => amountText(row, row.remaining) },
  { key: "resets", head: "Begins anew", explain: "When the window ends and the count starts from nothing", isMinor: true, sort: (row) => row.resets_at, csv: (row) => row.resets_at, cell: (row) => html`<${When} at=${row.resets_at} />` },
  { key: "mode", head: "Mode", explain: "Strict holds the worst case and is never passed; balanced holds what such a call usually takes; soft looks only at what is settled", isMinor: true, sort: (row) => row.mode, csv: (row) => row.mode, cell: (row) => row.mode },
  { key: "origin", head: "From", explain: "Where this limit stands", isMinor: true, sort: (row) => row.origin, csv: (row) => row.origin, cell: (row) => html`<${Badge} tone=${row.origin === "override" ? "warn" : "calm"}>${row.origin}<//>` },
];

function holderCell(row) {
  const holder = limitHolder(row);
  if (holder.kind === "user") return html`<a href=${href("user", {}, holder.name)}>${holder.name}</a>`;
  if (holder.kind === "team") return html`<a href=${href("users", { team: holder.name })}>team ${holder.name}</a>`;
  return holder.kind === "global" ? "everyone" : `${holder.kind} ${holder.name}`;
}
