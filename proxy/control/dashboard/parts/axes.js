// What all charts share: a width that follows the screen, round ticks, a grid, labels that do not collide.

import { html, useEffect, useRef, useState } from "../vendor/preact-htm.js";

export const MARGIN = { left: 52, right: 10, top: 10, bottom: 24 };

export function useWidth() {
  const element = useRef(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => set(Math.floor(entry.contentRect.width)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}

/** Round values from 0 to just above the highest. */
export function ticksTo(highest, wanted = 4) {
  if (!(highest > 0)) return [0, 1];
  const rough = highest / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  return Array.from({ length: Math.ceil(highest / step - 1e-9) + 1 }, (_, index) => index * step);
}

export const Grid = ({ ticks, y, width, format }) => html`
  <g class="chart-grid">
    ${ticks.map(
      (tick) => html`<g key=${tick}>
        <line x1=${MARGIN.left} x2=${width - MARGIN.right} y1=${y(tick)} y2=${y(tick)} />
        <text x=${MARGIN.left - 8} y=${y(tick)} dy="0.32em" text-anchor="end">${format(tick)}</text>
      </g>`,
    )}
  </g>
`;

/** Labels below, as many as fit. */
export function BottomLabels({ columns, x, width, height }) {
  const fitting = Math.max(1, Math.floor((width - MARGIN.left) / 64));
  const step = Math.ceil(columns.length / fitting);
  return html`
    <g class="chart-labels">
      ${columns.map((column, index) =>
        index % step === 0 ? html`<text key=${column.key} x=${x(index)} y=${height - 7} text-anchor="middle">${column.label}</text>` : null,
      )}
    </g>
  `;
}
