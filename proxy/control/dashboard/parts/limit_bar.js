// A limit as a bar: settled, held by calls in flight, remaining. And what a limit is called.

import { html } from "../vendor/preact-htm.js";
import { zone } from "../client/session.js";
import { approximate, exactUsd, parseUsd, shortUsd } from "../words/money.js";
import { compact, count } from "../words/numbers.js";
import { absolute, relative } from "../words/times.js";

const RESOURCES = {
  tokens: "tokens",
  input_tokens: "input tokens",
  output_tokens: "output tokens",
  cost_usd: "dollars",
  requests: "calls",
  concurrent_requests: "calls at once",
};
const WINDOWS = { minute: "a minute", hour: "an hour", day: "a day", month: "a month", total: "in all" };
const MODES = {
  strict: "strict: holds the worst case, is never passed",
  balanced: "balanced: holds what such a call usually takes",
  soft: "soft: looks only at what is settled",
};

export const isMoney = (limit) => limit.resource === "cost_usd";
export const amountText = (limit, amount) => (amount === null ? "–" : isMoney(limit) ? shortUsd(parseUsd(amount)) : compact(Number(amount)));
const exactText = (limit, amount) => (amount === null ? "unknown" : isMoney(limit) ? exactUsd(parseUsd(amount)) : count(Number(amount)));
const sizeOf = (limit, amount) => (amount === null ? 0 : isMoney(limit) ? approximate(parseUsd(amount)) : Number(amount));

/** tokens a day; dollars a month for gpt-4o*. */
export function limitWords(limit) {
  const model = /:([^:]*):[^:]*$/.exec(limit.counter ?? "")?.[1];
  const words = limit.resource === "concurrent_requests" ? RESOURCES.concurrent_requests : `${RESOURCES[limit.resource]} ${WINDOWS[limit.window] ?? ""}`;
  return model && model !== "*" ? `${words} on ${model}` : words;
}

/** Whom the counter counts: user ada, team research, everyone. */
export function limitHolder(limit) {
  const [kind, name] = (limit.counter ?? "").split(":");
  return kind === "global" || !name ? { kind: "global", name: "everyone" } : { kind, name };
}

export const toneOf = (fraction) => (fraction === null ? "none" : fraction >= 1 ? "full" : fraction >= 0.8 ? "near" : "calm");

/** Words and numbers above, the bar below in full width: so that bars under each other can be compared. head: whose, or what. */
export const LimitLine = ({ limit, head }) => html`
  <div class=${`limit-line limit-${toneOf(limit.fraction)}`} title=${toldOf(limit)}>
    <p class="limit-line-head"><span class="limit-line-what">${head}</span><${Numbers} limit=${limit} isShort /></p>
    <${Track} limit=${limit} />
  </div>
`;

export const LimitBar = ({ limit }) => html`
  <div class=${`limit limit-${toneOf(limit.fraction)}`} title=${toldOf(limit)}><${Track} limit=${limit} /><${Numbers} limit=${limit} /></div>
`;

const toldOf = (limit) =>
  limit.used === null
    ? "No worker says where this limit stands"
    : `settled ${exactText(limit, limit.used)}, held ${exactText(limit, limit.reserved)}, remaining ${exactText(limit, limit.remaining)} of ${exactText(limit, limit.amount)} ${limitWords(limit)}` +
      `${limit.resets_at ? `; begins anew ${relative(limit.resets_at)} (${absolute(limit.resets_at, zone())})` : ""}; ${MODES[limit.mode] ?? limit.mode}; from ${limit.origin}`;

/** isShort: where room is scarce, money held by calls in flight (fractions of a cent) is left to the bar and to the hover. */
const Numbers = ({ limit, isShort }) => html`
  <span class="limit-text number">${amountText(limit, limit.used)}${Number(limit.reserved) > 0 && !(isMoney(limit) && isShort) ? html`<span class="limit-held-text"> +${amountText(limit, limit.reserved)}</span>` : ""} / ${amountText(limit, limit.amount)}<span class="limit-percent">${limit.fraction === null ? "–" : `${Math.floor(limit.fraction * 100)}\u202f%`}</span></span>
`;

function Track({ limit }) {
  const whole = sizeOf(limit, limit.amount) || 1;
  const used = Math.min(1, sizeOf(limit, limit.used) / whole);
  const held = Math.min(1 - used, sizeOf(limit, limit.reserved) / whole);
  return html`
    <div class="limit-track" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.min(100, Math.round((limit.fraction ?? 0) * 100))} aria-label=${`${limitWords(limit)}: ${toldOf(limit)}`}>
      <span class="limit-used" style=${{ width: `${used * 100}%` }}></span>
      <span class="limit-held" style=${{ width: `${held * 100}%` }}></span>
    </div>
  `;
}

export const LimitLegend = () => html`
  <p class="limit-legend" aria-hidden="true"><span class="limit-used"></span> settled <span class="limit-held"></span> held by calls in flight <span class="limit-rest"></span> remaining</p>
`;
