// A whole limits.yaml on trial: every recorded call is held against it, and nobody is refused.

import { html, useState } from "../vendor/preact-htm.js";
import { get, offers, send } from "../client/api.js";
import { href } from "../client/route.js";
import { yamlText } from "../words/yaml.js";
import { attempt } from "./toasts.js";
import { count, percent, plural } from "../words/numbers.js";
import { DataTable, TableCsv } from "./data_table.js";
import { Panel } from "./panel.js";
import { Empty, Skeleton } from "./states.js";

const EXAMPLE = "defaults:\n  tokens: {per_day: 500_000}\n  cost_usd: {per_month: 50}\n";

export function LimitsFileTrial() {
  const [text, setText] = useState(EXAMPLE);
  const [state, set] = useState({});
  const submit = async (event) => {
    event.preventDefault();
    set({ isBusy: true });
    try {
      set({ result: await send("POST", "limits/simulate", { limits_yaml: text, days: 30 }) });
    } catch (failure) {
      set({ failure });
    }
  };
  const takeInForce = () => attempt(async () => setText(yamlText((await get("config")).documents.limits ?? {})));
  const rows = Math.min(24, Math.max(6, text.split("\n").length));
  return html`
    <${Panel} title="Try a whole limits.yaml" explain="Nothing is changed: the calls of the last 30 days are held against it, one by one">
      <form class="form" onSubmit=${submit}>
        <textarea class="mono" aria-label="limits.yaml to try" spellcheck="false" rows=${rows} value=${text} onInput=${(event) => setText(event.target.value)}></textarea>
        <p class="form-failure" role="alert">${state.failure?.message}</p>
        <div class="filters"><button class="button" disabled=${state.isBusy}>Hold the last 30 days against it</button>${offers("GET", "/config") && html`<button type="button" class="quiet-button" onClick=${takeInForce}>Start from the file in force</button>`}</div>
      </form>
      ${state.isBusy && html`<${Skeleton} rows=${3} />`}
      ${state.result && html`<${Verdict} result=${state.result} />`}
    <//>
  `;
}

function Verdict({ result }) {
  const share = percent(result.refused_share);
  return html`
    <div class="stack">
      <p role="status"><b>${result.refused ? `${count(result.refused)} of ${count(result.calls)} calls (${share}) of ${plural(result.users_refused, "user")} would have been refused.` : `None of ${count(result.calls)} calls would have been refused.`}</b>
        <span class="muted"> ${count(result.refused_then)} were refused in their time; ${count(result.refused_then_passes_now)} of those would pass.</span></p>
      ${result.users.length
        ? html`<div><${TableCsv} name="limits-trial" columns=${COLUMNS} rows=${result.users} /><${DataTable} caption="Users who would have been refused" columns=${COLUMNS} rows=${result.users} sortBy="refused" keyOf=${(row) => row.user} most=${15} /></div>`
        : html`<${Empty} title="Everybody fits" />`}
      <p class="muted small">${result.notes.join(" ")}</p>
    </div>
  `;
}

const limitsOf = (row) => Object.entries(row.limits ?? {}).map(([name, times]) => `${name} (${times})`).join(", ");

const COLUMNS = [
  { key: "user", head: "User", sort: (row) => row.user, csv: (row) => row.user, cell: (row) => html`<a href=${href("user", {}, row.user)}>${row.user}</a>` },
  { key: "refused", head: "Refused", isNumber: true, sort: (row) => row.refused, csv: (row) => row.refused, cell: (row) => `${count(row.refused)} of ${count(row.calls)}` },
  { key: "limits", head: "By", explain: "Limits that would have refused, and how often", csv: limitsOf, cell: limitsOf },
];
