// A table that sorts, shows more on demand, and downloads as CSV.

import { html, useMemo, useState } from "../vendor/preact-htm.js";
import { saveCsv } from "../words/csv.js";
import { METRICS } from "../words/metrics.js";
import { CsvButton } from "./panel.js";

/**
 * columns: [{key, head, explain, cell(row), sort(row), csv(row), isNumber, isMinor, isFill, isMain, isWide, isCorner,
 * isActions}]; isMinor ones go on a narrow screen,
 * those without a cell are only in the CSV. isCards: on a phone a row is a card, each cell under its head; isWide ones take half
 * of it, isFill and isMain ones all, an isCorner
 * one stands beside what it is about.
 * caption: what the table is, for screen readers and as the region's name.
 */
export function DataTable({ columns: all, rows, caption, keyOf, sortBy, descending = true, most = 100, rowClass, onHover, isCards }) {
  const columns = all.filter((column) => column.cell);
  const [order, setOrder] = useState({ key: sortBy, descending });
  const [shown, setShown] = useState(most);
  const sorted = useMemo(() => inOrder(rows, columns, order), [rows, order, all]);
  const turn = (column) => setOrder({ key: column.key, descending: order.key === column.key ? !order.descending : Boolean(column.isNumber) });
  return html`
    <div>
    <div class="table-region" role="region" aria-label=${caption} tabindex="0">
      <table class=${"table" + (isCards ? " cards" : "")} role="table">
        <caption class="unseen">${caption}</caption>
        <thead role="rowgroup"><tr role="row">${columns.map((column) => html`<${Head} key=${column.key} column=${column} order=${order} turn=${turn} />`)}</tr></thead>
        <tbody role="rowgroup">
          ${sorted.slice(0, shown).map(
            (row, index) => html`<tr role="row" key=${keyOf ? keyOf(row) : index} class=${rowClass?.(row)} onMouseEnter=${onHover && (() => onHover(row))} onMouseLeave=${onHover && (() => onHover(null))}>
              ${columns.map((column) => html`<td role="cell" key=${column.key} class=${classOf(column)} data-label=${typeof column.head === "string" ? column.head : undefined}>${column.cell(row)}</td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    ${sorted.length > shown && html`<p class="table-more"><button class="quiet-button" onClick=${() => setShown(shown + 500)}>Show more (${sorted.length - shown} left)</button></p>`}
    </div>
  `;
}

function Head({ column, order, turn }) {
  const isSorted = order.key === column.key;
  const explain = column.explain ?? METRICS[column.key]?.explain;
  const direction = isSorted ? (order.descending ? "descending" : "ascending") : undefined;
  const mark = isSorted ? html`<span aria-hidden="true">${order.descending ? " ↓" : " ↑"}</span>` : "";
  const inside = column.sort
    ? html`<button class="head-button" title=${explain} onClick=${() => turn(column)}>${column.head}${mark}</button>`
    : html`<span title=${explain}>${column.head}</span>`;
  return html`<th scope="col" role="columnheader" class=${classOf(column)} aria-sort=${direction}>${inside}</th>`;
}

const classOf = (column) => [column.isNumber && "number-cell", column.isMinor && "minor", column.isFill && "fill", column.isMain && "main-cell", column.isWide && "wide-cell", column.isActions && "actions", column.isCorner && "corner-cell"].filter(Boolean).join(" ");

function inOrder(rows, columns, { key, descending }) {
  const column = columns.find((one) => one.key === key);
  if (!column?.sort) return rows;
  const sign = descending ? -1 : 1;
  return [...rows].sort((one, two) => sign * compare(column.sort(one), column.sort(two)));
}

function compare(one, two) {
  if (one === null || one === undefined) return two === null || two === undefined ? 0 : -1;
  if (two === null || two === undefined) return 1;
  return one < two ? -1 : one > two ? 1 : 0;
}

export const TableCsv = ({ name, columns, rows }) => {
  const told = columns.filter((column) => column.csv);
  const save = () => saveCsv(name, told.map((column) => column.csvHead ?? column.head), rows.map((row) => told.map((column) => column.csv(row))));
  return html`<${CsvButton} onClick=${save} title="Download this table as CSV" />`;
};
