// Calls as rows: who, what, how much, how it went. Used by Records, the user page and My usage.

import { html } from "../vendor/preact-htm.js";
import { href } from "../client/route.js";
import { seesAll } from "../client/session.js";
import { duration } from "../words/numbers.js";
import { Count, Moment, Outcome, Usd } from "./amounts.js";
import { DataTable } from "./data_table.js";

const model = (row) => row.response_model ?? row.request_model ?? "–";
const COLUMNS = [
  { key: "started_at", head: "Started", explain: "When the request arrived", cell: (row) => html`<a href=${href("record", {}, row.id)}><${Moment} at=${row.started_at} /></a>` },
  { key: "user", head: "User", explain: "Who is limited and billed", cell: (row) => html`<a class="clip" href=${seesAll() ? href("user", {}, row.user) : href("my-usage")}>${row.user}</a>` },
  { key: "model", head: "Model", isWide: true, explain: "The model that answered, else the one asked for", cell: (row) => html`<span class="two-lines"><span class="clip" title=${`asked for ${row.request_model ?? "–"}, answered by ${row.response_model ?? "–"}`}>${model(row)}</span><span class="small">${row.provider} · ${row.api}</span></span>` },
  { key: "operation", head: "Operation", explain: "The application’s label", isMinor: true, cell: (row) => html`<span class="clip">${row.operation ?? "–"}</span>` },
  { key: "input_tokens", head: "Input", explain: "Input tokens, cached ones included", isNumber: true, isMinor: true, cell: (row) => html`<${Count} of=${row.input_tokens} what="input tokens" />` },
  { key: "output_tokens", head: "Output", explain: "Output tokens, reasoning included", isNumber: true, isMinor: true, cell: (row) => html`<${Count} of=${row.output_tokens} what="output tokens" />` },
  { key: "cost_usd", head: "Cost", explain: "US dollars by the price of its time", isNumber: true, cell: (row) => (row.cost_usd === null && !row.total_tokens ? "–" : html`<${Usd} of=${row.cost_usd} />`) },
  { key: "duration_ms", head: "Took", explain: "From the request’s first byte to the answer’s last", isNumber: true, isMinor: true, cell: (row) => html`<span title=${`first byte after ${duration(row.time_to_first_byte_ms)}`}>${duration(row.duration_ms)}</span>` },
  { key: "outcome", head: "Outcome", isCorner: true, explain: "How it ended", cell: (row) => html`<${Outcome} of=${row.outcome} /> ${row.status !== 200 ? html`<span class="small muted number" title="HTTP status the client was answered">${row.status}</span>` : ""}` },
];

export const CallsTable = ({ records, caption, without = [] }) => html`
  <${DataTable} caption=${caption} columns=${COLUMNS.filter((column) => !without.includes(column.key))} rows=${records} keyOf=${(row) => row.id} isCards most=${2000} />
`;
