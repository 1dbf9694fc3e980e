// One call: what it used, what it cost, how its time was spent.

import { html } from "../vendor/preact-htm.js";
import { get } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href } from "../client/route.js";
import { seesAll } from "../client/session.js";
import { count, duration } from "../words/numbers.js";
import { Badge, Moment, Outcome, Usd } from "../parts/amounts.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { Waterfall } from "../parts/waterfall.js";

const SOURCES = {
  reported: "As the provider reported it",
  estimated: "Estimated: the stream ended before the provider reported its use",
  tracked: "Sent in from outside; the call did not pass this proxy",
  none: "Nothing was used",
};

export function View({ part }) {
  const load = useLoad((signal) => get(`usage/records/${encodeURIComponent(part)}`, {}, signal), [part]);
  return html`
    <div class="view">
    <${ViewHead} title="Call" explain=${html`<code>${part}</code>`}><a class="button" href=${href("records")}>All records</a><//>
    <${Loaded} of=${load} rows=${8}>${(record) => html`<${Detail} record=${record} />`}<//>
    </div>
  `;
}

function Detail({ record }) {
  return html`
    <div class="stack">
      <${Panel} title="Time" explain="Milliseconds since the request arrived" actions=${html`<${Outcome} of=${record.outcome} /><${Badge} title="HTTP status the client was answered">${record.status || "no answer"}<//>`}>
        ${record.error && html`<p class="note note-bad stack-gap">${record.error}${record.limit ? ` (limit ${record.limit})` : ""}</p>`}
        ${record.timings ? html`<${Waterfall} timings=${record.timings} />` : html`<${Empty} title="No timings">This call was recorded without them.<//>`}
        <p class="muted small stack-gap">Took ${duration(record.duration_ms)}, first byte after ${duration(record.time_to_first_byte_ms)}; this proxy added ${duration(record.overhead_ms)}.</p>
      <//>
      <div class="grid grid-stretch">
        <div class="span-4"><${Panel} title="Use"><${Use} record=${record} /><//></div>
        <div class="span-4"><${Panel} title="Cost"><${Cost} record=${record} /><//></div>
        <div class="span-4"><${Panel} title="Who and what"><${Who} record=${record} /><//></div>
      </div>
      <${Panel} title="As recorded" explain="The record as the API gives it"><pre class="code" tabindex="0" aria-label="The record as JSON">${JSON.stringify(record, null, 2)}</pre><//>
    </div>
  `;
}

const Fact = ({ name, explain, children }) => html`<dt title=${explain}>${name}</dt><dd class="number">${children}</dd>`;

const Use = ({ record }) => html`
  <dl class="facts">
    <${Fact} name="Input" explain="All input, cache included">${count(record.input_tokens)}<//>
    <${Fact} name="· from cache" explain="Part of the input, at the cache’s price">${count(record.cache_read_tokens)}<//>
    <${Fact} name="· into cache" explain="Part of the input">${count(record.cache_write_tokens)}<//>
    <${Fact} name="Output" explain="All output, reasoning included">${count(record.output_tokens)}<//>
    <${Fact} name="· reasoning" explain="Part of the output">${count(record.reasoning_tokens)}<//>
    <${Fact} name="Total">${count(record.total_tokens)}<//>
    <${Fact} name="Counted by" explain=${SOURCES[record.usage_source]}>${record.usage_source}${record.exactness && !["none", "exact", record.usage_source].includes(record.exactness) ? `, ${record.exactness.replaceAll("_", " ")}` : ""}<//>
    ${record.output_tokens && record.time_to_first_byte_ms !== null && record.streamed
      ? html`<${Fact} name="Speed" explain="Output tokens by the time from first to last byte">${Math.round((record.output_tokens * 1000) / Math.max(1, record.duration_ms - record.time_to_first_byte_ms))} tokens/s<//>`
      : ""}
  </dl>
`;

const Cost = ({ record }) => html`
  <dl class="facts">
    <${Fact} name="Input"><${Usd} of=${record.input_cost_usd} /><//>
    <${Fact} name="Output"><${Usd} of=${record.output_cost_usd} /><//>
    <${Fact} name="Total"><${Usd} of=${record.cost_usd} /><//>
    <${Fact} name="Exactly" explain="To the last digit">${record.cost_usd ?? "unknown"}<//>
    <${Fact} name="By provider" explain="The provider’s own figure, where it gives one">${record.reported_cost_usd ?? "–"}<//>
    <${Fact} name="Price from">${record.price_source ?? "–"}<//>
  </dl>
`;

const Who = ({ record }) => html`
  <dl class="facts">
    <${Fact} name="Started"><${Moment} at=${record.started_at} /><//>
    <${Fact} name="User">${seesAll() ? html`<a href=${href("user", {}, record.user)}>${record.user}</a>` : record.user}${record.team ? ` · ${record.team}` : ""}<//>
    <${Fact} name="Key">${record.key_name ?? record.key_id ?? "own key"}<//>
    <${Fact} name="Model" explain="Asked for → answered by">${record.request_model ?? "–"}${record.response_model && record.response_model !== record.request_model ? html` → ${record.response_model}` : ""}<//>
    <${Fact} name="Call"><code>${record.method} /${record.provider}${record.path}</code><//>
    <${Fact} name="Streamed">${record.streamed ? "yes" : "no"}<//>
    <${Fact} name="Session">${record.session ? html`<a href=${href("records", { session: record.session, range: "90d" })}>${record.session}</a>` : "–"}<//>
    <${Fact} name="Operation">${record.operation ?? "–"}${record.operation_id ? ` · ${record.operation_id}` : ""}<//>
    <${Fact} name="Tags">${record.tags ? Object.entries(record.tags).map(([name, value]) => `${name}=${value}`).join(", ") : "–"}<//>
    <${Fact} name="Provider’s id"><code>${record.provider_request_id ?? "–"}</code><//>
  </dl>
`;
