// Records: the ledger itself, newest first, filtered, exported.

import { html, useState } from "../vendor/preact-htm.js";
import { download, get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { periodOf } from "../client/route.js";
import { seesAll } from "../client/session.js";
import { CallsTable } from "../parts/calls_table.js";
import { Count, Usd } from "../parts/amounts.js";
import { RangePicker } from "../parts/fields.js";
import { FilterBar, filtersOf } from "../parts/filters.js";
import { CsvButton, Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { attempt } from "../parts/toasts.js";

const PAGE = 100;

export function View({ query }) {
  const asked = { ...(query.range || query.from || query.to ? periodOf(query) : { range: "7d" }), ...filtersOf(query) };
  const key = JSON.stringify(asked);
  const first = useLoad((signal) => get("usage/records", inZone({ ...asked, limit: PAGE }), signal), [key]);
  const sums = useLoad((signal) => get("usage/summary", inZone(asked), signal), [key]);
  const byModel = useLoad((signal) => get("usage/summary", inZone({ range: "30d", group_by: "model", limit: 50 }), signal), []);
  const [more, setMore] = useState({ key, records: [], cursor: undefined });
  const rest = more.key === key ? more : { records: [], cursor: undefined };
  const cursor = rest.cursor === undefined ? first.data?.next_cursor : rest.cursor;
  const next = () =>
    attempt(async () => {
      const page = await get("usage/records", inZone({ ...asked, limit: PAGE, cursor }));
      setMore({ key, records: [...rest.records, ...page.records], cursor: page.next_cursor });
    });
  const save = (format) => () => attempt(() => download("usage/export", inZone({ ...asked, format }), `usage.${format}`), "The export is being saved");
  const suggestions = { model: byModel.data?.groups.map((row) => row.model).filter(Boolean) ?? [] };
  return html`
    <div class="view">
    <${ViewHead} title=${seesAll() ? "Records" : "My records"} explain="Every answered call, exactly once.">
      <${RangePicker} query=${query} usual="7d" />
    <//>
    <${Panel} title=${html`<${Totals} sums=${sums} />`}
      actions=${html`<${CsvButton} onClick=${save("csv")} label="CSV" title="All matching records as CSV" /><${CsvButton} onClick=${save("jsonl")} label="JSON Lines" title="All matching records, exactly as the API gives them" />`}>
      <div class="stack">
        <${FilterBar} query=${query} suggestions=${suggestions} />
        <${Loaded} of=${first} rows=${10} isEmpty=${(page) => !page.records.length} empty=${html`<${Empty} title="No calls match">Widen the period, or take a filter away.<//>`}>
          ${(page) => html`
            <${CallsTable} caption="Calls, newest first" records=${[...page.records, ...rest.records]} />
            ${cursor && html`<p class="table-more"><button class="button" onClick=${next}>Show older</button></p>`}
          `}
        <//>
      </div>
    <//>
    </div>
  `;
}

const Totals = ({ sums }) =>
  sums.data
    ? html`<${Count} of=${sums.data.totals.requests} what="calls" /> calls · <${Count} short of=${sums.data.totals.total_tokens} what="tokens" /> tokens · <${Usd} of=${sums.data.totals.cost_usd} what="cost" />`
    : "Calls";
