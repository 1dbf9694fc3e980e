// Usage over time as stacked columns: asks for the series, draws them, drills down into records, saves as CSV.

import { html, useState } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { go, href } from "../client/route.js";
import { columnsOf } from "../words/intervals.js";
import { METRICS, GROUPS, axisOf, exactOf, plainOf } from "../words/metrics.js";
import { pivot } from "../words/pivot.js";
import { saveCsv } from "../words/csv.js";
import { ColumnsChart, Legend } from "./columns_chart.js";
import { CsvButton } from "./panel.js";
import { Empty, Loaded } from "./states.js";

/** The series of a query: {columns, series, zone}. */
export function useSeries({ query, interval, group, metric }, options) {
  const asked = JSON.stringify({ query, interval, group });
  const load = useLoad((signal) => get("usage/timeseries", inZone({ ...query, interval, group_by: group || undefined }), signal), [asked], options);
  if (!load.data) return { load, columns: [], series: [] };
  const zone = load.data.timezone;
  const columns = columnsOf(load.data, load.data.interval, zone);
  return { load, columns, series: pivot(load.data.points, columns, { interval: load.data.interval, zone, group, metric }) };
}

/** Records of one column, or of one part of it. */
export function recordsOf({ column, one, group, filters }) {
  const only = one && group && !one.isRest && one.group ? { [group]: one.group } : {};
  return href("records", { ...filters, ...only, from: column.from, to: column.to });
}

export function UsageChart({ of, group, metric, filters = {}, height, onOnly, marked }) {
  const { load, columns, series } = of;
  const [own, setOwn] = useState(null);
  const label = `${METRICS[metric].label} over time${group ? ` by ${GROUPS[group].toLowerCase()}` : ""}: ${series.map((one) => `${one.name} ${exactOf(one.total)}`).join(", ")}`;
  const pick = (index, one) => go(recordsOf({ column: columns[index], one, group, filters }));
  return html`
    <${Loaded} of=${load} rows=${6} tall isEmpty=${() => !series.length} empty=${html`<${Empty} title="No calls in this period">Widen the period, or take a filter away.<//>`}>
      ${() => html`<div>
        <${ColumnsChart} columns=${columns} series=${series} format=${axisOf(metric)} label=${label} height=${height} onPick=${pick} marked=${own ?? marked} />
        <${Legend} series=${series} onMark=${setOwn} onPick=${onOnly} />
      </div>`}
    <//>
  `;
}

export const SeriesCsv = ({ of, name, metric }) => {
  const save = () =>
    saveCsv(
      name,
      ["from", "to", ...of.series.map((one) => `${one.name} (${METRICS[metric].unit})`)],
      of.columns.map((column, index) => [column.from, column.to, ...of.series.map((one) => plainOf(one.amounts[index]))]),
    );
  return html`<${CsvButton} onClick=${save} title="Download this chart’s numbers as CSV" />`;
};
