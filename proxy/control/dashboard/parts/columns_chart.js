// Stacked columns over time: one path per series, a cursor that follows mouse and arrow keys, a click that drills down.

import { html, useRef, useState } from "../vendor/preact-htm.js";
import { exactOf, heightOf, shortOf } from "../words/metrics.js";
import { BottomLabels, Grid, MARGIN, ticksTo, useWidth } from "./axes.js";

/**
 * columns: [{key, label, title}]; series: [{name, amounts}], drawn from the bottom up.
 * onPick(columnIndex, series or null): a column, or a part of one, was chosen.
 * marked: name of the series to bring forward.
 */
export function ColumnsChart({ columns, series, format, label, height = 260, onPick, marked }) {
  const [element, width] = useWidth();
  const [cursor, setCursor] = useState(null);
  const stacks = stack(series, columns.length);
  const ticks = ticksTo(Math.max(0, ...columns.map((_, index) => stacks.at(-1)?.tops[index] ?? 0)));
  const inner = height - MARGIN.top - MARGIN.bottom;
  const y = (value) => MARGIN.top + inner * (1 - value / ticks.at(-1));
  const step = (width - MARGIN.left - MARGIN.right) / Math.max(1, columns.length);
  const x = (index) => MARGIN.left + step * (index + 0.5);
  const at = useRef(null);

  const locate = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const index = Math.floor((event.clientX - box.left - MARGIN.left) / step);
    if (index < 0 || index >= columns.length) return null;
    const value = (1 - (event.clientY - box.top - MARGIN.top) / inner) * ticks.at(-1);
    const one = stacks.find((stacked) => value <= stacked.tops[index] && value >= stacked.bottoms[index]);
    return { index, name: one?.name ?? null };
  };
  const move = (event) => setCursor(locate(event));
  const pick = (found) => found && onPick?.(found.index, series.find((one) => one.name === found.name) ?? null);
  const press = (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && cursor) return pick({ ...cursor, name: null });
    if (event.key === "Escape") return setCursor(null);
    if (!(event.key in moves)) return undefined;
    event.preventDefault();
    const from = cursor?.index ?? (moves[event.key] < 0 ? columns.length : -1);
    return setCursor({ index: Math.min(columns.length - 1, Math.max(0, from + moves[event.key])), name: null });
  };

  return html`
    <div class=${"chart" + (onPick ? " chart-pickable" : "")} ref=${element}>
      <div class="chart-focus" role="group" aria-roledescription="chart" tabindex="0" ref=${at}
        aria-label=${`${label}. Arrow keys move over the columns${onPick ? ", Enter shows the records of one" : ""}.`} onKeyDown=${press} onBlur=${() => setCursor(null)}>
        ${width > 0 &&
        html`<svg width=${width} height=${height} aria-hidden="true" onMouseMove=${move} onMouseLeave=${() => setCursor(null)} onClick=${(event) => pick(locate(event))}>
          <${Grid} ticks=${ticks} y=${y} width=${width} format=${format} />
          ${cursor && html`<rect class="chart-cursor" x=${x(cursor.index) - step / 2} y=${MARGIN.top} width=${step} height=${inner} />`}
          ${stacks.map((one, index) => html`<path key=${one.name} class=${`series series-${one.isRest ? "rest" : index}${marked && marked !== one.name ? " series-dim" : ""}`} d=${barsPath(one, x, y, step)} />`)}
          <${BottomLabels} columns=${columns} x=${x} width=${width} height=${height} />
        </svg>`}
        <p class="unseen" aria-live="polite">${cursor && spoken(columns[cursor.index], series, cursor.index)}</p>
      </div>
      ${cursor && width > 0 && html`<${Tip} column=${columns[cursor.index]} series=${series} index=${cursor.index} name=${cursor.name} x=${x(cursor.index)} width=${width} />`}
    </div>
  `;
}

function stack(series, length) {
  const floor = Array(length).fill(0);
  return series.map((one) => {
    const bottoms = [...floor];
    one.amounts.forEach((amount, index) => (floor[index] += heightOf(amount)));
    return { name: one.name, isRest: one.isRest, bottoms, tops: [...floor] };
  });
}

function barsPath({ bottoms, tops }, x, y, step) {
  const wide = Math.max(1, step * (step > 6 ? 0.78 : 1));
  let path = "";
  tops.forEach((top, index) => {
    if (top <= bottoms[index]) return;
    const left = (x(index) - wide / 2).toFixed(1);
    path += `M${left} ${y(bottoms[index]).toFixed(1)}V${y(top).toFixed(1)}h${wide.toFixed(1)}V${y(bottoms[index]).toFixed(1)}Z`;
  });
  return path;
}

const totalAt = (series, index) => series.reduce((sum, one) => (sum === null ? one.amounts[index] : sum + one.amounts[index]), null) ?? 0;
const spoken = (column, series, index) => `${column.title}: ${exactOf(totalAt(series, index))}. ${series.filter((one) => one.amounts[index]).map((one) => `${one.name} ${shortOf(one.amounts[index])}`).join(", ")}`;

function Tip({ column, series, index, name, x, width }) {
  const rows = series.map((one, order) => ({ ...one, order, amount: one.amounts[index] })).filter((one) => one.amount);
  const style = x > width / 2 ? { right: `${width - x + 14}px` } : { left: `${x + 14}px` };
  return html`
    <div class="chart-tip" style=${style} aria-hidden="true">
      <p class="chart-tip-title">${column.title}<span class="number">${shortOf(totalAt(series, index))}</span></p>
      ${rows.reverse().map((one) => html`<p key=${one.name} class=${one.name === name ? "chart-tip-row chart-tip-here" : "chart-tip-row"}><span class=${`swatch swatch-${one.isRest ? "rest" : one.order}`}></span><span class="chart-tip-name">${one.name}</span><span class="number">${shortOf(one.amount)}</span></p>`)}
    </div>
  `;
}

export const Legend = ({ series, onMark, onPick }) => html`
  <ul class="legend">
    ${series.map(
      (one, index) => html`<li key=${one.name} onMouseEnter=${() => onMark?.(one.name)} onMouseLeave=${() => onMark?.(null)}>
        <span class=${`swatch swatch-${one.isRest ? "rest" : index}`}></span>
        ${onPick && !one.isRest ? html`<button class="link-button" title="Only this one" onClick=${() => onPick(one)}>${one.name}</button>` : one.name}
        <span class="number legend-amount" title=${exactOf(one.total)}>${shortOf(one.total)}</span>
      </li>`,
    )}
  </ul>
`;
