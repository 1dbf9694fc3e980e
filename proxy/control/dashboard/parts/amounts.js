// Single amounts with their explanation on hover: money, counts, times, changes, shares, states.

import { html } from "../vendor/preact-htm.js";
import { zone } from "../client/session.js";
import { exactUsd, parseUsd, shortUsd } from "../words/money.js";
import { compact, count, percent } from "../words/numbers.js";
import { absolute, relative } from "../words/times.js";

/** Money from the API's decimal text; the exact amount on hover; unknown is said, not shown as zero. */
export function Usd({ of, places, what = "" }) {
  const units = parseUsd(of);
  if (units === null) return html`<span class="unknown" title="The price is not known; this is not zero">unknown</span>`;
  return html`<span class="number" title=${`${what ? what + ": " : ""}${exactUsd(units)}`}>${shortUsd(units, places)}</span>`;
}

/** The cost of many calls together: unknown where none has a price, marked as a lower bound where some have none. */
export function Cost({ row, unpriced = row.unpriced ?? 0 }) {
  if (!unpriced) return html`<${Usd} of=${row.cost_usd} />`;
  if (parseUsd(row.cost_usd) === 0n) return html`<${Usd} of=${null} />`;
  return html`<span title=${`At least ${exactUsd(parseUsd(row.cost_usd))}: ${count(unpriced)} calls have no known price`}>≥ <${Usd} of=${row.cost_usd} /></span>`;
}

export const Count = ({ of, short, what = "" }) =>
  html`<span class="number" title=${`${what ? what + ": " : ""}${count(of)}`}>${short ? compact(of) : count(of)}</span>`;

export const When = ({ at, none = "–" }) =>
  at ? html`<time class="number" datetime=${at} title=${absolute(at, zone())}>${relative(at)}</time>` : html`<span>${none}</span>`;

export const Moment = ({ at }) => html`<time class="number" datetime=${at} title=${relative(at)}>${absolute(at, zone())}</time>`;

/** ▲ 12 % against something; neutral in colour, since more is not worse or better in itself. */
export function Change({ of, against }) {
  if (of === null || !Number.isFinite(of)) return html`<span class="change" title="There is nothing to compare with">none ${against.replace("vs ", "")}</span>`;
  const mark = Math.abs(of) < 0.005 ? "＝" : of > 0 ? "▲" : "▼";
  const size = Math.abs(of) >= 10 ? (of >= 99 ? "over × 100" : `× ${(of + 1).toFixed(0)}`) : percent(Math.abs(of), 0);
  return html`<span class="change" title=${`${percent(of)} ${against}`}><span aria-hidden="true">${mark}</span><span class="unseen">${of > 0 ? "up" : "down"}</span> ${size} ${against}</span>`;
}

export function Share({ of }) {
  const width = `${Math.min(100, Math.max(0, (of ?? 0) * 100)).toFixed(1)}%`;
  return html`<span class="share" title=${`${percent(of)} of the whole`}><span class="share-bar" style=${{ width }}></span><span class="share-text number">${percent(of, 0)}</span></span>`;
}

const TONES = {
  ok: ["good", "Answered in full"],
  denied: ["warn", "Refused by a limit, a stop or a missing right"],
  upstream_error: ["bad", "The provider answered with an error, or could not be reached"],
  upstream_aborted: ["bad", "The provider broke off"],
  client_aborted: ["calm", "The client hung up"],
  proxy_error: ["bad", "A fault of this proxy"],
};

export const Outcome = ({ of }) => html`<${Badge} tone=${TONES[of]?.[0] ?? "calm"} title=${TONES[of]?.[1] ?? of}>${of.replaceAll("_", " ")}<//>`;
export const Badge = ({ tone = "calm", title, children }) => html`<span class=${`badge badge-${tone}`} title=${title}>${children}</span>`;

const SEVERITIES = { critical: "bad", warning: "warn", info: "calm" };
export const Severity = ({ of }) => html`<${Badge} tone=${SEVERITIES[of] ?? "calm"}>${of}<//>`;
