// A limit on trial: past use is held against it, before anybody is refused by it.

import { html, useState } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { METRICS, exactOf, groupName, heightOf, plainOf, shortOf } from "../words/metrics.js";
import { parseUsd } from "../words/money.js";
import { percent } from "../words/numbers.js";
import { replay } from "../words/replay.js";
import { When } from "./amounts.js";
import { DataTable, TableCsv } from "./data_table.js";
import { options } from "./override_dialog.js";
import { Panel } from "./panel.js";
import { Empty, Skeleton } from "./states.js";

const SCOPES = { user: "each user", team: "each team", "": "everyone together" };
const MEASURES = { total_tokens: "tokens", cost_usd: "dollars", requests: "calls", input_tokens: "input tokens", output_tokens: "output tokens" };
const WINDOWS = { hour: "an hour", day: "a day", month: "a month" };
const RANGES = { "7d": "the last 7 days", "30d": "the last 30 days", "90d": "the last 90 days" };

export function LimitTrial() {
  const [form, set] = useState({ group: "user", metric: "total_tokens", window: "day", amount: "1000000", range: "30d" });
  const [result, setResult] = useState(null);
  const change = (name) => (event) => set({ ...form, [name]: event.target.value });
  const submit = async (event) => {
    event.preventDefault();
    const typed = form.amount.replaceAll(/[\s_]/g, "");
    const amount = METRICS[form.metric].isMoney ? parseUsd(typed) : Number(typed);
    setResult({ isBusy: true });
    try {
      const answer = await get("usage/timeseries", inZone({ range: form.range, interval: form.window, group_by: form.group || undefined }));
      setResult({ ...replay(answer.points, { group: form.group, metric: form.metric, amount }), amount, form });
    } catch (failure) {
      setResult({ failure });
    }
  };
  return html`
    <${Panel} title="Try a limit on past use" explain="Nothing is changed: recorded use is held against the limit, window by window">
      <form class="filters" onSubmit=${submit}>
        <label class="field">At most <input name="trial-amount" aria-label="Amount" required pattern="[0-9 _]+([.][0-9]+)?" value=${form.amount} onInput=${change("amount")} /></label>
        <select aria-label="Measure" value=${form.metric} onChange=${change("metric")}>${options(MEASURES)}</select>
        <select aria-label="Window" value=${form.window} onChange=${change("window")}>${options(WINDOWS)}</select>
        <label class="field">for <select aria-label="For whom" value=${form.group} onChange=${change("group")}>${options(SCOPES)}</select></label>
        <label class="field">over <select aria-label="Over which time" value=${form.range} onChange=${change("range")}>${options(RANGES)}</select></label>
        <button class="button">Try</button>
      </form>
      ${result?.isBusy && html`<${Skeleton} rows=${3} />`}
      ${result?.failure && html`<p class="form-failure" role="alert">${result.failure.message}</p>`}
      ${result?.people && html`<${Verdict} result=${result} />`}
    <//>
  `;
}

function Verdict({ result }) {
  const { form, amount } = result;
  const hit = result.people.filter((one) => one.exceeded);
  const columns = columnsOf(form, amount);
  const told = hit.length
    ? `${hit.length} of ${result.people.length} would have met it, in ${result.exceeded} of ${result.windows} windows with use.`
    : "Nobody would have met it.";
  return html`
    <div class="stack">
      <p role="status"><b>${told}</b> <span class="muted">The highest use in ${WINDOWS[form.window]} was <span class="number" title=${exactOf(result.highest)}>${shortOf(result.highest)}</span>; from there on it refuses nobody.</span></p>
      ${hit.length > 0
        ? html`<div><${TableCsv} name="limit-trial" columns=${columns} rows=${hit} /><${DataTable} caption="Who would have met the limit" columns=${columns} rows=${hit} sortBy="exceeded" keyOf=${(row) => row.name} most=${15} /></div>`
        : html`<${Empty} title="No calls would have been refused" />`}
    </div>
  `;
}

const columnsOf = (form, amount) => [
  { key: "name", head: "Who", sort: (row) => row.name, csv: (row) => row.name, cell: (row) => groupName(row.name) },
  { key: "exceeded", head: "Windows met", explain: "Windows in which calls would have been refused, of those with use", isNumber: true, sort: (row) => row.exceeded, csv: (row) => row.exceeded, cell: (row) => `${row.exceeded} of ${row.windows}` },
  { key: "highest", head: "Highest", explain: "Most used in one window", isNumber: true, sort: (row) => heightOf(row.highest), csv: (row) => plainOf(row.highest), cell: (row) => html`<span title=${exactOf(row.highest)}>${shortOf(row.highest)}</span>` },
  { key: "times", head: "Of the limit", isNumber: true, isMinor: true, cell: (row) => percent(heightOf(row.highest) / heightOf(amount), 0) },
  { key: "beyond", head: "Beyond it", explain: "What would have been refused at least", isNumber: true, sort: (row) => heightOf(row.beyond), csv: (row) => plainOf(row.beyond), cell: (row) => html`<span title=${exactOf(row.beyond)}>${shortOf(row.beyond)} (${percent(heightOf(row.beyond) / heightOf(row.total), 0)})</span>` },
  { key: "last", head: "Last", isMinor: true, csv: (row) => row.lastAt, cell: (row) => html`<${When} at=${row.lastAt} />` },
];
