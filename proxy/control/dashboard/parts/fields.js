// Small form fields: choices, segments, text with a label; the range picker that every report has.

import { html, useState } from "../vendor/preact-htm.js";
import { setQuery } from "../client/route.js";
import { zone } from "../client/session.js";
import { PRESETS } from "../words/intervals.js";
import { localDate } from "../words/times.js";

/** options: {value: label}. */
export const Select = ({ label, value, options, onChange, hideLabel }) => html`
  <label class="field"><span class=${hideLabel ? "unseen" : "field-label"}>${label}</span>
    <select aria-label=${label} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${Object.entries(options).map(([name, text]) => html`<option key=${name} value=${name} selected=${name === String(value)}>${text}</option>`)}
    </select>
  </label>
`;

/** One of a few, all visible. */
export const Segments = ({ label, value, options, onChange }) => html`
  <div class="segments" role="group" aria-label=${label}>
    ${Object.entries(options).map(
      ([name, text]) => html`<button key=${name} class="segment" aria-pressed=${String(name === value)} onClick=${() => onChange(name)}>${text}</button>`,
    )}
  </div>
`;

export const Field = ({ label, hint, children }) => html`
  <label class="field field-tall"><span class="field-label">${label}</span>${children}${hint && html`<span class="field-hint">${hint}</span>`}</label>
`;

/** The period of a report, kept in the URL as range, or from and to. */
export function RangePicker({ query, usual = "30d" }) {
  const isCustom = Boolean(query.from || query.to);
  const [isOpen, open] = useState(false);
  const choose = (name) => {
    if (name === "custom") open(true);
    else setQuery({ range: name, from: null, to: null, cursor: null });
    if (name !== "custom") open(false);
  };
  const today = localDate(Date.now(), zone());
  const change = (name) => (event) => setQuery({ range: null, from: query.from ?? today, [name]: event.target.value || null });
  return html`
    <div class="range">
      <${Select} label="Period" hideLabel value=${isCustom || isOpen ? "custom" : (query.range ?? usual)} options=${{ ...PRESETS, custom: "From … to …" }} onChange=${choose} />
      ${(isCustom || isOpen) &&
      html`<input type="date" aria-label="From, inclusive" title=${`From this day, in ${zone()}`} value=${query.from?.slice(0, 10)} onChange=${change("from")} />
        <input type="date" aria-label="To, exclusive" title="Up to the beginning of this day" value=${query.to?.slice(0, 10)} onChange=${change("to")} />`}
    </div>
  `;
}
