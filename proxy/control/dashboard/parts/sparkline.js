// A column of numbers as a line the size of a word.

import { html } from "../vendor/preact-htm.js";

const WIDTH = 96;
const HEIGHT = 24;

export function Sparkline({ values, label }) {
  const highest = Math.max(...values, 0) || 1;
  const x = (index) => (values.length < 2 ? WIDTH / 2 : (index * (WIDTH - 4)) / (values.length - 1) + 2);
  const y = (value) => HEIGHT - 2 - (value / highest) * (HEIGHT - 5);
  const line = values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  return html`
    <svg class="sparkline" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${label}>
      <title>${label}</title>
      ${values.length > 0 && html`<path class="area" d=${`${line}L${x(values.length - 1)} ${HEIGHT}L${x(0)} ${HEIGHT}Z`} /><path class="line" d=${line} />`}
    </svg>
  `;
}
