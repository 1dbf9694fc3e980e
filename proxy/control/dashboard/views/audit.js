// Audit: who changed what, when, from where. Lines are only ever added.

import { html, useState } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { periodOf, setQuery } from "../client/route.js";
import { Moment } from "../parts/amounts.js";
import { DataTable, TableCsv } from "../parts/data_table.js";
import { RangePicker } from "../parts/fields.js";
import { Panel, ViewHead } from "../parts/panel.js";
import { Empty, Loaded } from "../parts/states.js";
import { attempt } from "../parts/toasts.js";

const KNOWN = ["id", "at", "by", "action", "subject", "address"];
const details = (row) => Object.fromEntries(Object.entries(row).filter(([name, value]) => !KNOWN.includes(name) && value !== null));

export function View({ query }) {
  const period = query.range || query.from || query.to ? periodOf(query) : { range: "30d" };
  const asked = JSON.stringify(period);
  const load = useLoad((signal) => get("audit", inZone({ ...period, limit: 200 }), signal), [asked]);
  const [more, setMore] = useState({ asked, rows: [], cursor: undefined });
  const rest = more.asked === asked ? more : { rows: [], cursor: undefined };
  const cursor = rest.cursor === undefined ? load.data?.next_cursor : rest.cursor;
  const next = () =>
    attempt(async () => {
      const page = await get("audit", inZone({ ...period, limit: 200, cursor }));
      setMore({ asked, rows: [...rest.rows, ...page.audit], cursor: page.next_cursor });
    });
  const search = (query.search ?? "").toLowerCase();
  const rows = [...(load.data?.audit ?? []), ...rest.rows].filter((row) => `${row.action} ${row.subject} ${row.by}`.toLowerCase().includes(search));
  return html`
    <div class="view">
    <${ViewHead} title="Audit" explain="Written before each change is made, so that no change goes without a line."><${RangePicker} query=${query} /><//>
    <${Panel} title="Changes" actions=${html`<input data-search type="search" aria-label="Search the changes" placeholder="search…" value=${query.search ?? ""} onInput=${(event) => setQuery({ search: event.target.value })} /><${TableCsv} name="audit" columns=${COLUMNS} rows=${rows} />`}>
      <${Loaded} of=${load} rows=${6} isEmpty=${() => !rows.length} empty=${html`<${Empty} title="No changes in this period">Keys, overrides, stops, alerts and prices changed here are written down.<//>`}>
        ${() => html`<${DataTable} caption="Changes, newest first" columns=${COLUMNS} rows=${rows} keyOf=${(row) => row.id} most=${200} />`}
      <//>
      ${cursor && html`<p class="table-more"><button class="button" onClick=${next}>Show older</button></p>`}
    <//>
    </div>
  `;
}

const COLUMNS = [
  { key: "at", head: "When", sort: (row) => row.at, csv: (row) => row.at, cell: (row) => html`<${Moment} at=${row.at} />` },
  { key: "by", head: "Who", sort: (row) => row.by, csv: (row) => row.by, cell: (row) => row.by },
  { key: "action", head: "Did", sort: (row) => row.action, csv: (row) => row.action, cell: (row) => row.action },
  { key: "subject", head: "To", sort: (row) => row.subject, csv: (row) => row.subject, cell: (row) => html`<span class="name">${row.subject}</span>` },
  { key: "details", head: "Before and after", isMinor: true, csv: (row) => JSON.stringify(details(row)), cell: (row) => (Object.keys(details(row)).length ? html`<details><summary class="muted">show</summary><pre class="code" tabindex="0" aria-label="Before and after">${JSON.stringify(details(row), null, 2)}</pre></details>` : "–") },
  { key: "address", head: "From", isMinor: true, csv: (row) => row.address, cell: (row) => html`<code>${row.address || "–"}</code>` },
];
