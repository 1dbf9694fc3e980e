// The month so far as a rising line, and what it will probably come to as a band.

import { html, useState } from "../vendor/preact-htm.js";
import { exactOf, heightOf, shortOf } from "../words/metrics.js";
import { BottomLabels, Grid, MARGIN, ticksTo, useWidth } from "./axes.js";

/**
 * columns: all days of the month; amounts: of the days so far; forecast: {expected, low, high} as raw amounts.
 */
export function ProjectionChart({ columns, amounts, forecast, format, label, height = 200 }) {
  const [element, width] = useWidth();
  const [cursor, setCursor] = useState(null);
  const sums = runningSums(amounts);
  const highest = Math.max(heightOf(forecast.high), ...sums.map(heightOf));
  const ticks = ticksTo(highest);
  const inner = height - MARGIN.top - MARGIN.bottom;
  const y = (value) => MARGIN.top + inner * (1 - value / ticks.at(-1));
  const step = (width - MARGIN.left - MARGIN.right) / Math.max(1, columns.length - 1);
  const x = (index) => MARGIN.left + step * index;
  const last = Math.max(0, sums.length - 1);
  const end = columns.length - 1;
  const from = `${x(last)} ${y(heightOf(sums[last] ?? 0))}`;
  const line = sums.map((sum, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(heightOf(sum)).toFixed(1)}`).join("");
  const move = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const index = Math.round((event.clientX - box.left - MARGIN.left) / step);
    setCursor(index >= 0 && index <= end ? index : null);
  };
  return html`
    <div class="chart" ref=${element} role="img" aria-label=${label}>
      ${width > 0 &&
      html`<svg width=${width} height=${height} aria-hidden="true" onMouseMove=${move} onMouseLeave=${() => setCursor(null)}>
        <${Grid} ticks=${ticks} y=${y} width=${width} format=${format} />
        <path class="band" d=${`M${from}L${x(end)} ${y(heightOf(forecast.high))}V${y(heightOf(forecast.low))}Z`} />
        <path class="line line-expected" d=${`M${from}L${x(end)} ${y(heightOf(forecast.expected))}`} />
        <path class="area" d=${`${line}L${x(last)} ${y(0)}L${x(0)} ${y(0)}Z`} />
        <path class="line" d=${line} />
        <circle class="dot" cx=${x(last)} cy=${y(heightOf(sums[last] ?? 0))} r="3.5" />
        ${cursor !== null && html`<line class="chart-rule" x1=${x(cursor)} x2=${x(cursor)} y1=${MARGIN.top} y2=${height - MARGIN.bottom} />`}
        <${BottomLabels} columns=${columns} x=${x} width=${width - 24} height=${height} />
      </svg>`}
      ${cursor !== null && html`<${Tip} column=${columns[cursor]} sum=${sums[cursor]} forecast=${forecast} x=${x(cursor)} width=${width} />`}
    </div>
  `;
}

export function runningSums(amounts) {
  const sums = [];
  for (const amount of amounts) sums.push(sums.length ? sums.at(-1) + amount : amount);
  return sums;
}

function Tip({ column, sum, forecast, x, width }) {
  const style = x > width / 2 ? { right: `${width - x + 14}px` } : { left: `${x + 14}px` };
  const text =
    sum !== undefined
      ? html`<p class="chart-tip-row"><span class="chart-tip-name">month up to here</span><span class="number">${exactOf(sum)}</span></p>`
      : html`<p class="chart-tip-row"><span class="chart-tip-name">month’s end</span><span class="number">${shortOf(forecast.low)} – ${shortOf(forecast.high)}</span></p>`;
  return html`<div class="chart-tip" style=${style}><p class="chart-tip-title">${column.title}</p>${text}</div>`;
}
