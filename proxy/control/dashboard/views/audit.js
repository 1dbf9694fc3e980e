// Audit: who changed what, when, from where. Lines are only ever added.

import { html, useState } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { href, periodOf, setQuery } from "../client/route.js";
import { changeWords } from "../words/changes.js";
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
  const rows = [...(load.data?.audit ?? []), ...rest.rows].filter((row) => `${row.action} ${row.subject} ${row.by} ${changeWords(row)}`.toLowerCase().includes(search));
  return html`
    <div class="view">
    <${ViewHead} title="Audit" explain="Written before each change is made, so that no change goes without a line."><${RangePicker} query=${query} /><//>
    <${Panel} title="Changes" actions=${html`<input data-search type="search" aria-label="Search the changes" placeholder="search…" value=${query.search ?? ""} onInput=${(event) => setQuery({ search: event.target.value })} /><${TableCsv} name="audit" columns=${COLUMNS} rows=${rows} />`}>
      <${Loaded} of=${load} rows=${6} isEmpty=${() => !rows.length} empty=${html`<${Empty} title="No changes in this period">Keys, overrides, stops, alerts and prices changed here are written down.<//>`}>
        ${() => html`<${DataTable} caption="Changes, newest first" columns=${COLUMNS} rows=${rows} isCards keyOf=${(row) => row.id} most=${200} />`}
      <//>
      ${cursor && html`<p class="table-more"><button class="button" onClick=${next}>Show older</button></p>`}
    <//>
    </div>
  `;
}

/** A link to what was changed, where there is a page for it. */
function subjectCell({ subject }) {
  const [kind, name] = [subject.slice(0, subject.indexOf(":")), subject.slice(subject.indexOf(":") + 1)];
  if (kind === "user") return html`<a href=${href("user", {}, name)}>user ${name}</a>`;
  if (kind === "key") return html`<a href=${href("keys", { show: "all", search: name })}>key ${name}</a>`;
  if (kind === "alert") return html`<a class="clip" title=${name} href=${href("alerts", { state: "all" }, name)}>alert ${name}</a>`;
  return html`<span class="name">${kind ? `${kind} ${name}` : subject}</span>`;
}

function changeCell(row) {
  const all = details(row);
  if (!Object.keys(all).length) return html`<span class="muted">–</span>`;
  return html`<details class="change-details"><summary>${changeWords(row) || "details"}</summary><pre class="code" tabindex="0" aria-label="The whole line">${JSON.stringify(all, null, 2)}</pre></details>`;
}

const COLUMNS = [
  { key: "at", head: "When", explain: "Written just before the change was made", sort: (row) => row.at, csv: (row) => row.at, cell: (row) => html`<${Moment} at=${row.at} />` },
  { key: "by", head: "Who", explain: "The key, account or identity that did it", sort: (row) => row.by, csv: (row) => row.by, cell: (row) => row.by },
  { key: "action", head: "Did", explain: "What was done", sort: (row) => row.action, csv: (row) => row.action, cell: (row) => row.action },
  { key: "subject", head: "To", explain: "To whom or what", sort: (row) => row.subject, csv: (row) => row.subject, cell: subjectCell },
  { key: "details", head: "Change", explain: "What it was and became; open a line for all of it", isMain: true, csv: (row) => JSON.stringify(details(row)), cell: changeCell },
  { key: "address", head: "From", explain: "The network address of whoever did it, where it is known", isMinor: true, csv: (row) => row.address, cell: (row) => html`<code>${row.address || "–"}</code>` },
];
