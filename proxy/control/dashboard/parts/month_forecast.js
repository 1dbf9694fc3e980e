// What the month will probably come to: so far, expected, and a band of one standard deviation.

import { html } from "../vendor/preact-htm.js";
import { get, inZone } from "../client/api.js";
import { useLoad } from "../client/load.js";
import { columnsOf, keyOf } from "../words/intervals.js";
import { METRICS, amountOf, axisOf, exactOf, plainOf, shortOf, zeroOf } from "../words/metrics.js";
import { saveCsv } from "../words/csv.js";
import { localDate, plusDays } from "../words/times.js";
import { CsvButton, Panel } from "./panel.js";
import { ProjectionChart, runningSums } from "./projection_chart.js";
import { Loaded } from "./states.js";

export function MonthForecast({ metric, filters = {}, height = 236 }) {
  const load = useLoad(
    async (signal) => {
      const [projection, month] = await Promise.all([
        get("usage/projection", inZone(filters), signal),
        get("usage/timeseries", inZone({ ...filters, range: "this_month", interval: "day" }), signal),
      ]);
      return { projection, month };
    },
    [JSON.stringify(filters)],
    { every: 300 },
  );
  const csv = load.data && html`<${CsvButton} onClick=${() => save(load.data, metric)} />`;
  return html`
    <${Panel} title="This month" explain=${load.data ? `Forecast: ${load.data.projection.method}` : ""} actions=${csv}>
      <${Loaded} of=${load} rows=${6} tall>${(data) => html`<${Forecast} ...${data} metric=${metric} height=${height} />`}<//>
    <//>
  `;
}

function prepared({ projection, month }, metric) {
  const zone = month.timezone;
  const days = columnsOf(month, "day", zone);
  const byDay = new Map(month.points.map((point) => [keyOf(point.at, "day", zone), amountOf(point, metric)]));
  const forecast = Object.fromEntries(["so_far", "expected", "low", "high"].map((name) => [name, amountOf({ [metric]: projection[metric][name] }, metric)]));
  return { days, amounts: days.map((day) => byDay.get(day.key) ?? zeroOf(metric)), forecast, columns: [...days, ...rest(days, projection, zone)] };
}

function rest(days, projection, zone) {
  const last = localDate(Date.parse(projection.to) - 1, zone);
  const found = [];
  for (let date = days.at(-1)?.key ?? last; date < last; ) {
    date = plusDays(date, 1);
    found.push({ key: date, label: String(Number(date.slice(8))), title: date });
  }
  return found;
}

function Forecast({ projection, month, metric, height }) {
  const { columns, amounts, forecast } = prepared({ projection, month }, metric);
  const short = columns.map((column) => ({ ...column, label: String(Number(column.key.slice(8))) }));
  const label = `${METRICS[metric].label} of this month: ${exactOf(forecast.so_far)} so far, ${exactOf(forecast.expected)} expected at its end, between ${exactOf(forecast.low)} and ${exactOf(forecast.high)}`;
  return html`
    <p class="forecast">
      <b class="number" title=${`Expected at the month’s end: ${exactOf(forecast.expected)}`}>${shortOf(forecast.expected)}</b>
      <span class="muted">expected by the month’s end</span>
      <span class="muted small forecast-more"><span title=${`So far: ${exactOf(forecast.so_far)}`}><b class="number">${shortOf(forecast.so_far)}</b> so far</span><span title="One standard deviation of the days so far to either side">likely <b class="number">${shortOf(forecast.low)} – ${shortOf(forecast.high)}</b></span></span>
    </p>
    <${ProjectionChart} columns=${short} amounts=${amounts} forecast=${forecast} format=${axisOf(metric)} label=${label} height=${height} />
  `;
}

function save(data, metric) {
  const { days, amounts, forecast } = prepared(data, metric);
  const sums = runningSums(amounts);
  const rows = days.map((day, index) => [day.key, plainOf(amounts[index]), plainOf(sums[index]), ""]);
  for (const name of ["low", "expected", "high"]) rows.push([`month's end, ${name}`, "", plainOf(forecast[name]), "forecast"]);
  saveCsv(`month-${metric}`, ["day", METRICS[metric].unit, "running total", "kind"], rows);
}
