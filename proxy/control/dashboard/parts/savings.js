// Recommendations: the same traffic on other models, unused cache discounts, calls that came to nothing.

import { html } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href } from "../client/route.js";
import { isReleaseOf } from "../words/models.js";
import { count, percent } from "../words/numbers.js";
import { Badge, Count, Outcome, Usd } from "./amounts.js";
import { DataTable, TableCsv } from "./data_table.js";
import { Panel } from "./panel.js";
import { Empty, Loaded } from "./states.js";

/** Rows of a name that only unanswered calls go by are counted with the model that answers to it, above. */
const answered = (rows, used) => rows.filter((row) => row.share < 1 || !used.some((one) => one.provider === row.provider && isReleaseOf(one.model, row.model)));

export function Savings({ period, used = [] }) {
  const load = useLoad((signal) => get("recommendations", inZone(period), signal), [JSON.stringify(period)]);
  const best = (data) => data.models.filter((row, index, all) => all.findIndex((one) => one.provider === row.provider && one.model === row.model) === index);
  const low = (data) => data.cache.filter((row) => row.is_low);
  return html`
    <div class="grid">
      <div>
        <${Panel} title="Cheaper models for the same traffic" explain=${load.data?.note} actions=${load.data && html`<${TableCsv} name="cheaper-models" columns=${CHEAPER} rows=${load.data.models} />`}>
          <${Loaded} of=${load} rows=${5} isEmpty=${(data) => !data.models.length} empty=${html`<${Empty} title="No cheaper model among those in use" />`}>
            ${(data) => html`<p class="muted small">The dearest gap for each model in use; the CSV has every pair. ${data.note}</p><${DataTable} caption="Cheaper models" columns=${CHEAPER} rows=${best(data)} isCards sortBy="saving" keyOf=${(row) => row.model + row.other_model} most=${8} />`}
          <//>
        <//>
      </div>
      <div class="span-6">
        <${Panel} title="Cache" explain="Models with much input of which little comes from the provider’s cache">
          <${Loaded} of=${load} rows=${3} isEmpty=${(data) => !low(data).length} empty=${html`<${Empty} title="Caches are well used" />`}>
            ${(data) => html`<${DataTable} caption="Models with little use of the cache" columns=${CACHE} rows=${low(data)} sortBy="input" keyOf=${(row) => row.provider + row.model} most=${5} />`}
          <//>
        <//>
      </div>
      <div class="span-6">
        <${Panel} title="Calls that came to nothing" explain="Models with many calls refused, failed or given up">
          <${Loaded} of=${load} rows=${3} isEmpty=${(data) => !answered(data.waste, used).length} empty=${html`<${Empty} title="Few calls are lost" />`}>
            ${(data) => html`<${DataTable} caption="Calls refused, failed or given up" columns=${WASTE} rows=${answered(data.waste, used)} sortBy="share" keyOf=${(row) => row.provider + row.model} most=${5} />`}
          <//>
        <//>
      </div>
      <div class="span-6">
        <${Panel} title="Paid, and come to nothing" explain="Calls that failed or were given up, and were billed all the same">
          <${Loaded} of=${load} rows=${3} isEmpty=${(data) => !data.paid_failures?.length} empty=${html`<${Empty} title="Nothing was paid in vain" />`}>
            ${(data) => html`<${DataTable} caption="Calls that failed and were billed" columns=${PAID} rows=${data.paid_failures} sortBy="cost" keyOf=${(row) => row.provider + row.model + row.outcome} most=${5} />`}
          <//>
        <//>
      </div>
      <div class="span-6">
        <${Panel} title="Tiers larger than needed" explain="Users who stayed far under every limit of their tier in the last 30 days">
          <${Loaded} of=${load} rows=${3} isEmpty=${(data) => !data.under_tier?.length} empty=${html`<${Empty} title="Every tier is made use of" />`}>
            ${(data) => html`<${DataTable} caption="Users far under their tier" columns=${ROOMY} rows=${data.under_tier} sortBy="share" descending=${false} keyOf=${(row) => row.user + row.limit} most=${5} />`}
          <//>
        <//>
      </div>
    </div>
  `;
}

const model = (provider, name) => html`<span class="two-lines"><span class="clip">${name}</span><span class="small">${provider}</span></span>`;

const CHEAPER = [
  { key: "from", head: "Instead of", csv: (row) => `${row.provider}/${row.model}`, cell: (row) => model(row.provider, row.model) },
  { key: "to", head: "On", isWide: true, csv: (row) => `${row.other_provider}/${row.other_model}`, cell: (row) => model(row.other_provider, row.other_model) },
  { key: "cost", head: "Costs now", explain: "What this traffic cost in the period", isNumber: true, isMinor: true, sort: (row) => Number(row.cost_usd), csv: (row) => row.cost_usd, cell: (row) => html`<${Usd} of=${row.cost_usd} />` },
  { key: "other", head: "Would cost", explain: "The same tokens at the other model’s price", isNumber: true, isMinor: true, sort: (row) => Number(row.other_cost_usd), csv: (row) => row.other_cost_usd, cell: (row) => html`<${Usd} of=${row.other_cost_usd} />` },
  { key: "saving", head: "Saves", explain: "The difference, and its share of the cost", isNumber: true, sort: (row) => Number(row.saving_usd), csv: (row) => row.saving_usd, cell: (row) => html`<${Usd} of=${row.saving_usd} /> <span class="muted small">${percent(row.saving_share, 0)}</span>` },
];
const CACHE = [
  { key: "model", head: "Model", cell: (row) => model(row.provider, row.model) },
  { key: "input", head: "Input tokens", explain: "All input of the period", isNumber: true, sort: (row) => row.input_tokens, cell: (row) => html`<${Count} short of=${row.input_tokens} what="input tokens" />` },
  { key: "share", head: "From cache", explain: "Share of the input that the provider took from its cache", isNumber: true, sort: (row) => row.cache_share, cell: (row) => html`<span title=${`${count(row.cache_read_tokens)} of ${count(row.input_tokens)} input tokens`}>${percent(row.cache_share)}</span>` },
  { key: "saving", head: "Could save", explain: "If half of the input came from the cache, at today’s prices", isNumber: true, sort: (row) => (row.saving_usd ? Number(row.saving_usd) : null), cell: (row) => (row.saving_usd ? html`<${Usd} of=${row.saving_usd} />` : html`<span class="muted">–</span>`) },
];
const PAID = [
  { key: "model", head: "Model", cell: (row) => model(row.provider, row.model) },
  { key: "outcome", head: "Ended", explain: "How these calls ended", cell: (row) => html`<${Outcome} of=${row.outcome} />` },
  { key: "requests", head: "Calls", isNumber: true, sort: (row) => row.requests, cell: (row) => html`<${Count} of=${row.requests} what="calls" />` },
  { key: "cost", head: "Cost", explain: "What they cost all the same", isNumber: true, sort: (row) => Number(row.cost_usd), cell: (row) => html`<${Usd} of=${row.cost_usd} />` },
];
const ROOMY = [
  { key: "user", head: "User", cell: (row) => html`<a href=${href("user", {}, row.user)}>${row.user}</a>` },
  { key: "name", head: "Limit", explain: "Where it stands", cell: (row) => html`<code>${row.limit}</code>` },
  { key: "share", head: "Highest use", explain: "Most that was used in one of its windows, as a share of the amount", isNumber: true, sort: (row) => Number(row.share), cell: (row) => html`<span title=${`${row.highest ?? "–"} of ${row.amount ?? "–"}`}>${percent(Number(row.share), 0)}</span>` },
];
const WASTE = [
  { key: "model", head: "Model", cell: (row) => html`<a href=${href("explore", { model: row.model, group_by: "outcome", metric: "requests" })}>${model(row.provider, row.model)}</a>` },
  { key: "what", head: "Refused, failed, given up", cell: (row) => `${row.denied}, ${row.failed}, ${row.client_aborted}` },
  { key: "share", head: "Of all calls", explain: "Share of the model’s calls that came to nothing", isNumber: true, sort: (row) => row.share, cell: (row) => html`<${Badge} tone=${row.share > 0.2 ? "bad" : "warn"}>${percent(row.share, 0)}<//>` },
];
