// The four states beside data: loading, empty, failed, not allowed. Designed once, used by every view.

import { html } from "../vendor/preact-htm.js";
import { Icon } from "./icons.js";

/** Bars in the shape of what is coming. */
export const Skeleton = ({ rows = 5, tall = false }) => html`
  <div class=${"skeleton" + (tall ? " skeleton-tall" : "")} role="status">
    <span class="unseen">Loading…</span>
    ${Array.from({ length: rows }, (_, index) => html`<span class="skeleton-bar" key=${index} aria-hidden="true"></span>`)}
  </div>
`;

export const Empty = ({ title = "Nothing here", children }) => html`
  <div class="state"><p class="state-title">${title}</p>${children && html`<p class="state-text">${children}</p>`}</div>
`;

export function Failed({ failure, retry }) {
  if (failure.status === 403) return html`<${NotAllowed} />`;
  return html`
    <div class="state state-failed" role="alert">
      <p class="state-title">${failure.status === 503 ? "The ledger is away" : failure.status ? "That did not work" : "No connection"}</p>
      <p class="state-text">${failure.message}</p>
      ${retry && html`<button class="button" onClick=${retry}><${Icon} name="refresh" />Try again</button>`}
    </div>
  `;
}

export const NotAllowed = () => html`
  <div class="state panel">
    <p class="state-title">This view is for admins</p>
    <p class="state-text">Your key shows your own usage. Log in with an admin key to see this.</p>
    <a class="button" href="#/my-usage">My usage</a>
  </div>
`;

export const NotOffered = ({ what }) => html`
  <div class="state"><p class="state-title">${what} is not offered by this release</p>
  <p class="state-text">The control plane has no such operation; everything else here works without it.</p></div>
`;

/**
 * What a load stands for on the screen.
 * of: from useLoad; isEmpty: (data) => bool; empty: what to show then; children: (data) => nodes.
 */
export function Loaded({ of, isEmpty, empty, rows, tall, children }) {
  if (of.data === undefined) return of.failure ? html`<${Failed} failure=${of.failure} retry=${of.reload} />` : html`<${Skeleton} rows=${rows} tall=${tall} />`;
  if (isEmpty?.(of.data)) return empty ?? html`<${Empty} />`;
  const note = of.failure && html`<p class="stale-note" role="status">Not up to date: ${of.failure.message} <button class="link-button" onClick=${of.reload}>Try again</button></p>`;
  return html`<div class=${of.isStale ? "stale" : ""}>${note}${children(of.data)}</div>`;
}
