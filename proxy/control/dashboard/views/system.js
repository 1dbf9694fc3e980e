// System: workers, spool, stores, versions, reloads: whether the house is well.

import { html } from "../vendor/preact-htm.js";
import { get } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { bytes, count, duration } from "../words/numbers.js";
import { Badge, When } from "../parts/amounts.js";
import { ConfigInForce } from "../parts/config_in_force.js";
import { offers } from "../client/api.js";
import { DataTable } from "../parts/data_table.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";

export function View() {
  const load = useLoad((signal) => get("stats", { range: "today" }, signal), [], { every: 5 });
  return html`
    <div class="view">
    <${ViewHead} title="System" explain="Whether the house is well. Asked of every worker each five seconds." />
    <${Loaded} of=${load} rows=${8}>
      ${(data) => html`
        <div class="stack">
          <${Standing} health=${data.health} />
          <${Workers} workers=${data.health.workers} version=${data.health.rules_version} />
          <div class="grid">
            <div class="span-6"><${Spool} spool=${data.health.spool} workers=${data.health.workers} /></div>
            <div class="span-6"><${Stores} workers=${data.health.workers} /></div>
          </div>
        </div>
      `}
    <//>
    <${ConfigInForce} isOffered=${offers("GET", "/config")} />
    <${Panel} title="For machines"><p class="muted">The same and more for Prometheus at <a href="/metrics">/metrics</a>; the API is described at <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>; liveness at <a href="/healthz">/healthz</a>, readiness at <a href="/readyz">/readyz</a>.</p><//>
    </div>
  `;
}

const isAway = (spool) => Boolean(spool.is_ledger_away ?? spool.ledger_away);

function Standing({ health }) {
  const lost = health.workers.reduce((sum, one) => sum + (one.spool?.lost ?? 0), 0);
  const behind = health.workers.filter((one) => one.rules_version !== health.rules_version).length;
  const troubles = [
    !health.workers.length && "No worker answers",
    isAway(health.spool) && "The ledger is away; records wait in the spool",
    lost && `${count(lost)} records could not be written`,
    health.spool.poisoned && `${count(health.spool.poisoned)} records were refused by the ledger`,
    behind && `${behind} worker${behind > 1 ? "s" : ""} not yet on the newest rules`,
    health.config_mistakes.length && "The changed configuration was refused",
    ...health.workers.filter((one) => one.quota?.state && one.quota.state !== "normal").map((one) => `Worker ${one.worker}: quota store ${one.quota.state}`),
  ].filter(Boolean);
  return troubles.length
    ? html`<div class="note note-bad"><span><b>Wants a look:</b> ${troubles.join("; ")}.</span></div>`
    : html`<p class="note"><${Badge} tone="good">well<//><span>Release <b>${health.version}</b>, rules <code>${health.rules_version}</code>, ${health.workers.length} worker${health.workers.length === 1 ? "" : "s"}.</span></p>`;
}

function Workers({ workers, version }) {
  const columns = [
    { key: "worker", head: "Worker", explain: "Its number and process", cell: (row) => html`${row.worker} <span class="muted small">pid ${row.pid}</span>` },
    { key: "since", head: "Runs since", explain: "Start of this process", cell: (row) => html`<${When} at=${row.started_at && new Date(row.started_at * 1000).toISOString()} />` },
    { key: "restarts", head: "Restarts", explain: "How often it died and was started again", isNumber: true, isMinor: true, cell: (row) => count(row.restarts) },
    { key: "in_flight", head: "In flight", explain: "Calls that are being answered", isNumber: true, cell: (row) => count(row.in_flight) },
    { key: "open", head: "Connections", explain: "Open connections of clients", isNumber: true, isMinor: true, cell: (row) => count(row.open_connections) },
    { key: "lag", head: "Loop lag", explain: "How late the event loop runs; a few milliseconds are well", isNumber: true, cell: (row) => duration((row.gauges?.loop_lag_seconds ?? 0) * 1000) },
    { key: "upstreams", head: "Upstreams", explain: "Open connections to providers (waiting calls)", isMinor: true, cell: (row) => Object.entries(row.upstreams ?? {}).map(([name, one]) => `${name} ${one.open}${one.waiting ? ` (${one.waiting} wait)` : ""}`).join(", ") || "–" },
    { key: "rules", head: "Rules", explain: "Whether it works by the newest configuration", cell: (row) => html`<${Badge} tone=${row.rules_version === version ? "good" : "warn"} title=${row.rules_version}>${row.rules_version === version ? "newest" : "older"}<//>` },
  ];
  return html`<${Panel} title="Workers">${workers.length ? html`<${DataTable} caption="Workers" columns=${columns} rows=${workers} isCards keyOf=${(row) => row.worker} />` : html`<${Empty} title="No worker answers">Calls may go on; their sockets do not answer.<//>`}<//>`;
}

const Gauge = ({ name, explain, children }) => html`<div class="gauge" title=${explain}><dt>${name}</dt><dd class="number">${children}</dd></div>`;

function Spool({ spool, workers }) {
  const waiting = spool.backlog_records ?? spool.records ?? 0;
  return html`
    <${Panel} title="Spool to ledger" explain="Every record waits on disk until the ledger has committed it">
      <dl class="gauges">
        <${Gauge} name="Ledger" explain="The store of all records; where it is away, records wait on disk">${isAway(spool) ? html`<${Badge} tone="bad">away<//>` : html`<${Badge} tone="good">reached<//>`}<//>
        <${Gauge} name="Waiting records" explain="On disk, not yet in the ledger">${count(waiting)}<//>
        <${Gauge} name="Waiting bytes" explain="Size on disk of what waits">${bytes(spool.backlog_bytes ?? spool.bytes ?? 0)}<//>
        <${Gauge} name="Oldest waits" explain="Age of the oldest waiting record">${duration((spool.backlog_age_seconds ?? spool.age_seconds ?? 0) * 1000)}<//>
        <${Gauge} name="Last commit" explain="Time of the last batch">${duration((spool.commit_seconds ?? 0) * 1000)}<//>
        <${Gauge} name="Stored since start" explain="Records put into the ledger by this process">${count(spool.new)}<//>
        <${Gauge} name="Failures" explain="Batches that had to be tried again">${count(spool.failures ?? 0)}<//>
        <${Gauge} name="Lost" explain="Records that could not be written to disk">${count(workers.reduce((sum, one) => sum + (one.spool?.lost ?? 0), 0))}<//>
      </dl>
    <//>
  `;
}

const COUNTERS = {
  drains_cut: ["Streams cut at a stop", "Answers that took longer than a stop may wait for"],
  refused_heads: ["Malformed requests", "Requests refused before they were read: conflicting framing, heads too large"],
  slow_clients: ["Slow clients", "Clients cut off because they did not take their answer"],
  upstream_retries: ["Sent again", "Calls sent anew because a kept-alive connection had closed before a byte came"],
  usage_retreats: ["Usage not asked for", "Providers that refused to be asked for usage in a stream, and are not asked for an hour"],
  rules_reloads: ["Reloads", "Configurations, keys, overrides and stops that came into force"],
};

function Stores({ workers }) {
  const totals = {};
  for (const worker of workers) for (const [name, value] of Object.entries(worker.counters ?? {})) totals[name] = (totals[name] ?? 0) + value;
  const quota = workers.find((one) => one.quota)?.quota;
  return html`
    <${Panel} title="Quotas and events" explain="Where limits are counted, and what the workers met">
      <dl class="gauges">
        ${quota && html`<${Gauge} name="Quota store" explain=${quota.shared ? "All workers count together" : "Each worker counts for itself"}>${quota.kind} <${Badge} tone=${quota.state === "normal" ? "good" : "bad"}>${quota.state}<//><//><${Gauge} name="Holds" explain="Reservations of calls in flight">${count(workers.reduce((sum, one) => sum + (one.quota?.holds ?? 0), 0))}<//>`}
        ${Object.entries(totals).map(([name, value]) => html`<${Gauge} key=${name} name=${COUNTERS[name]?.[0] ?? name.replaceAll("_", " ")} explain=${`${COUNTERS[name]?.[1] ?? "Counted"}, since the workers started`}>${count(value)}<//>`)}
      </dl>
    <//>
  `;
}
