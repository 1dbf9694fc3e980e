// The way of one call in time: what each stretch between two marks was spent on.

import { html } from "../vendor/preact-htm.js";
import { duration } from "../words/numbers.js";

const STAGES = [
  ["admitted", "Admitted", "identified, limits checked and room reserved", "ours"],
  ["forwarded", "Forwarded", "credential swapped, request on its way to the provider", "ours"],
  ["first_byte", "First byte", "waiting for the provider’s first byte", "theirs"],
  ["last_byte", "Last byte", "the answer, relayed as it came", "stream"],
  ["settled", "Settled", "actual use into the limits, record into the spool", "ours"],
  ["recorded", "Recorded", "from the spool into the ledger", "later"],
];

export function stagesOf(timings) {
  let from = 0;
  return STAGES.filter(([name]) => Number.isFinite(timings?.[name])).map(([name, title, explain, kind]) => {
    const until = Math.max(from, timings[name]);
    const stage = { name, title, explain, kind, from, until, at: timings[name] };
    from = until;
    return stage;
  });
}

/** The scale is the call's own time; what comes after it (the ledger) is drawn up to the edge, and said in figures. */
export function Waterfall({ timings }) {
  const stages = stagesOf(timings);
  const whole = Math.max(...stages.filter((stage) => stage.kind !== "later").map((stage) => stage.until), 0) * 1.06 || 1;
  const part = (ms) => `${Math.min(100, (ms / whole) * 100).toFixed(2)}%`;
  const width = (stage) => `${Math.max(0, Math.min(whole, stage.until) - Math.min(whole, stage.from)) ? (((Math.min(whole, stage.until) - Math.min(whole, stage.from)) / whole) * 100).toFixed(2) : 0}%`;
  return html`
    <div>
    <ol class="waterfall" aria-label="Timings of this call">
      ${stages.map(
        (stage) => html`<li key=${stage.name} title=${`${stage.title}: ${stage.explain}. Reached after ${duration(stage.at)}`}>
          <span class="waterfall-name">${stage.title}</span>
          <span class="waterfall-track"><span class=${`waterfall-bar waterfall-${stage.kind}`} style=${{ left: part(stage.from), width: width(stage) }}></span></span>
          <span class="waterfall-time number">+${duration(stage.until - stage.from)}</span>
          <span class="waterfall-at number minor">${duration(stage.at)}</span>
        </li>`,
      )}
    </ol>
    <p class="waterfall-legend"><span class="swatch waterfall-ours"></span>this proxy <span class="swatch waterfall-theirs"></span>waiting for the provider <span class="swatch waterfall-stream"></span>answer on its way${stages.some((stage) => stage.kind === "later") ? html` <span class="swatch waterfall-later"></span>into the ledger, after the client has its answer` : ""}</p>
    </div>
  `;
}
