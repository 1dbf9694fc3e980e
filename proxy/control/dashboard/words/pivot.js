// Points of a time series, turned into the stacked series of a chart: the largest groups, and the rest as one.

import { amountOf, groupName, heightOf, zeroOf } from "./metrics.js";
import { keyOf } from "./intervals.js";

export const OTHER = "other";

/**
 * points: as the API gives them; columns: from `columnsOf`.
 * Returns [{name, group, amounts: one per column}], largest first; `group` is the API's value (undefined for the rest).
 */
export function pivot(points, columns, { interval, zone, group, metric, most = 8 }) {
  const places = new Map(columns.map((column, index) => [column.key, index]));
  const series = new Map();
  for (const point of points) {
    const index = places.get(keyOf(point.at, interval, zone));
    if (index === undefined) continue;
    const value = group ? point[group] : undefined;
    const name = group ? groupName(value) : "all";
    if (!series.has(name)) series.set(name, { name, group: value, amounts: columns.map(() => zeroOf(metric)), total: zeroOf(metric) });
    const one = series.get(name);
    const amount = amountOf(point, metric);
    one.amounts[index] += amount;
    one.total += amount;
  }
  const sorted = [...series.values()].sort((a, b) => heightOf(b.total) - heightOf(a.total));
  if (sorted.length <= most) return sorted;
  return [...sorted.slice(0, most - 1), together(sorted.slice(most - 1), columns, metric)];
}

function together(rest, columns, metric) {
  const amounts = columns.map((_, index) => rest.reduce((sum, one) => sum + one.amounts[index], zeroOf(metric)));
  const name = `${rest.length} others`;
  return { name, group: undefined, isRest: true, amounts, total: rest.reduce((sum, one) => sum + one.total, zeroOf(metric)) };
}
