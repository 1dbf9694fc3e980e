// What a limit would have done: past use, window by window, held against an amount. Pure.

import { amountOf, groupName, heightOf, zeroOf } from "./metrics.js";

/**
 * points: a time series whose interval is the limit's window; amount: raw, as amountOf gives it.
 * Returns {windows, exceeded, highest, people: [{name, windows, exceeded, highest, beyond, firstAt}]}, worst first.
 * A window counts as exceeded when more was used in it than the amount: the calls beyond would have been refused.
 */
export function replay(points, { group, metric, amount }) {
  const people = new Map();
  for (const point of points) {
    const name = group ? groupName(point[group]) : "everyone";
    const used = amountOf(point, metric);
    const one = people.get(name) ?? { name, windows: 0, exceeded: 0, highest: zeroOf(metric), beyond: zeroOf(metric), total: zeroOf(metric), lastAt: null };
    one.windows += 1;
    one.total += used;
    if (used > one.highest) one.highest = used;
    if (used > amount) {
      one.exceeded += 1;
      one.beyond += used - amount;
      one.lastAt = point.at;
    }
    people.set(name, one);
  }
  const all = [...people.values()].sort((a, b) => b.exceeded - a.exceeded || heightOf(b.highest) - heightOf(a.highest));
  return {
    people: all,
    windows: all.reduce((sum, one) => sum + one.windows, 0),
    exceeded: all.reduce((sum, one) => sum + one.exceeded, 0),
    highest: all.reduce((most, one) => (one.highest > most ? one.highest : most), zeroOf(metric)),
  };
}
