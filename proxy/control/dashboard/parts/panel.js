// A titled part of a view, and the head of a view.

import { useEffect } from "../vendor/preact-htm.js";
import { html } from "../vendor/preact-htm.js";
import { refreshAll } from "../client/load.js";
import { tell } from "./toasts.js";
import { Icon } from "./icons.js";

export const Panel = ({ title, explain, actions, children, wide, plain }) => html`
  <section class=${"panel" + (wide ? " panel-wide" : "") + (plain ? " panel-plain" : "")}>
    ${(title || actions) &&
    html`<header class="panel-head">
      <h2 title=${explain}>${title}</h2>
      <div class="panel-actions">${actions}</div>
    </header>`}
    ${children}
  </section>
`;

/** The view's title, its controls, and what every view has: load anew, copy the link. */
export function ViewHead({ title, explain, children }) {
  useEffect(() => {
    document.title = `${title} · Weighbridge`;
  }, [title]);
  const copy = async () => {
    await navigator.clipboard?.writeText(location.href);
    tell("Link copied: it opens this view with these filters");
  };
  return html`
    <header class="view-head">
      <div class="view-title"><h1 tabindex="-1">${title}</h1>${explain && html`<p>${explain}</p>`}</div>
      <div class="view-controls">
        ${children}
        <button class="icon-button" title="Copy a link to this view" aria-label="Copy a link to this view" onClick=${copy}><${Icon} name="link" /></button>
        <button class="icon-button" title="Load anew (r)" aria-label="Load anew" onClick=${refreshAll}><${Icon} name="refresh" /></button>
      </div>
    </header>
  `;
}

export const CsvButton = ({ onClick, label = "CSV", title = "Download as CSV" }) =>
  html`<button class="quiet-button" title=${title} onClick=${onClick}><${Icon} name="download" />${label}</button>`;
