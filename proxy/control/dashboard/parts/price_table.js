// The price table in force: dollars per million tokens, where each price comes from, searched on the server.

import { html, useEffect, useState } from "../vendor/preact-htm.js";
import { get } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { setQuery } from "../client/route.js";
import { isReleaseOf, withoutDate } from "../words/models.js";
import { Badge } from "./amounts.js";
import { DataTable, TableCsv } from "./data_table.js";
import { Panel } from "./panel.js";
import { Empty, Loaded } from "./states.js";

const PAGE = 300;
const MOST_USED = 20;

/** The prices that match; where nothing is searched, those of the models in use first. */
async function load(search, used, signal) {
  if (search) return { ...(await get("prices", { model: search, limit: PAGE }, signal)), isSearch: true };
  const names = [...new Set(used.map((row) => withoutDate(row.model ?? "")).filter(Boolean))].slice(0, MOST_USED);
  const [all, ...mine] = await Promise.all([get("prices", { limit: PAGE }, signal), ...names.map((model) => get("prices", { model, limit: 20 }, signal))]);
  const isUsed = (price) => used.some((row) => priceOf(row, price));
  const first = [...new Map(mine.flatMap((answer) => answer.prices).filter(isUsed).map((price) => [price.provider + price.model, { ...price, isUsed: true }])).values()];
  const known = new Set(first.map((price) => price.provider + price.model));
  return { ...all, prices: [...first, ...all.prices.filter((price) => !known.has(price.provider + price.model))] };
}

/** Providers are named by the configuration, prices by the price list: gemini there is google here. */
const SAME = { gemini: "google" };
const priceOf = (row, price) => (row.model === price.model || isReleaseOf(row.model, price.model)) && (row.provider === price.provider || SAME[row.provider] === price.provider);

export function PriceTable({ query, used }) {
  const search = query.price ?? "";
  const [typed, type] = useState(search);
  useEffect(() => {
    const timer = setTimeout(() => typed !== search && setQuery({ price: typed || null }), 300);
    return () => clearTimeout(timer);
  }, [typed]);
  const found = useLoad((signal) => load(search, used, signal), [search, used.map((row) => row.model).join()]);
  const rows = found.data?.prices ?? [];
  return html`
    <${Panel} title="Prices in force" explain="US dollars per million tokens, as they are at this moment"
      actions=${html`<input data-search type="search" aria-label="Search models in the price table" placeholder="model…" value=${typed} onInput=${(event) => type(event.target.value)} /><${TableCsv} name="prices" columns=${COLUMNS} rows=${rows} />`}>
      <${Loaded} of=${found} rows=${6} isEmpty=${() => !rows.length} empty=${html`<${Empty} title="No price of that name">Add it to prices.yaml.<//>`}>
        ${(data) => html`<p class="muted small">From ${data.source}. A model without a price is ${data.unknown_model === "refuse" ? "refused" : "allowed, and its cost said to be unknown"}.${data.isSearch ? "" : " Models in use come first."}${data.next_offset ? ` ${PAGE} are shown; search for more.` : ""}</p>
          <${DataTable} caption="Prices, US dollars per million tokens" columns=${COLUMNS} rows=${rows} isCards keyOf=${(row) => row.provider + row.model} most=${20} />`}
      <//>
    <//>
  `;
}

/** The rates that hold now: the last that has begun; further ones are said in the title. */
function current(row) {
  const now = new Date().toISOString();
  return row.prices.filter((price) => !price.from || price.from <= now).at(-1) ?? row.prices[0];
}

const rate = (name) => (row) => current(row)?.rates?.[name] ?? null;
const shown = (value) => (value === null ? html`<span class="muted">–</span>` : typeof value === "object" ? html`<span title=${JSON.stringify(value)}>by size</span>` : `$${value}`);
const rateColumn = (name, head, explain, more = {}) => ({ key: name, head, explain, isNumber: true, sort: (row) => (rate(name)(row) === null ? null : Number(rate(name)(row))), csv: (row) => JSON.stringify(rate(name)(row))?.replaceAll('"', ""), csvHead: name, cell: (row) => shown(rate(name)(row)), ...more });
const OTHERS = ["input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"];
const others = (row) => Object.entries(current(row)?.rates ?? {}).filter(([name]) => !OTHERS.includes(name));

const COLUMNS = [
  { key: "model", head: "Model", sort: (row) => row.model, csv: (row) => row.model, cell: (row) => html`<span class="two-lines"><span>${row.model} ${row.isUsed ? html`<${Badge} tone="accent" title="Called in this period">in use<//>` : ""}</span><span class="small">${row.provider}</span></span>` },
  rateColumn("input_mtok", "Input", "Per million input tokens"),
  rateColumn("output_mtok", "Output", "Per million output tokens"),
  rateColumn("cache_read_mtok", "Cache read", "Per million input tokens from the cache", { isMinor: true }),
  rateColumn("cache_write_mtok", "Cache write", "Per million input tokens into the cache", { isMinor: true }),
  { key: "more", head: "Also", explain: "Further rates, steps and hours", isMinor: true, cell: (row) => {
      const count = others(row).length + row.prices.length - 1;
      return count ? html`<span class="muted" title=${JSON.stringify(row.prices, null, 1)}>+${count}</span>` : "";
    } },
  { key: "source", head: "From", sort: (row) => row.source, csv: (row) => row.source, explain: "Which list the price stands in", cell: (row) => (row.source.startsWith("genai") ? html`<span class="muted" title=${row.source}>built in</span>` : html`<${Badge} tone="accent" title=${row.source}>${row.source}<//>`) },
];
