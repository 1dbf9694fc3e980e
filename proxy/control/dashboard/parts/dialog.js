// A modal dialog on the browser's own <dialog>: focus stays in it, Escape closes it, focus goes back where it came from.

import { html, useEffect, useRef } from "../vendor/preact-htm.js";
import { Icon } from "./icons.js";

export function Dialog({ title, onClose, children, wide }) {
  const element = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.focus?.();
  }, []);
  const onPress = (event) => event.target === element.current && onClose();
  return html`
    <dialog ref=${element} class=${"dialog" + (wide ? " dialog-wide" : "")} aria-labelledby="dialog-title" onClose=${onClose} onMouseDown=${onPress}>
      <div class="dialog-inside">
        <header class="dialog-head">
          <h2 id="dialog-title">${title}</h2>
          <button class="icon-button" aria-label="Close" title="Close (Esc)" onClick=${onClose}><${Icon} name="close" /></button>
        </header>
        ${children}
      </div>
    </dialog>
  `;
}

/** A question before something that cannot be taken back. */
export const Confirm = ({ title, text, yes, onYes, onClose }) => html`
  <${Dialog} title=${title} onClose=${onClose}>
    <p>${text}</p>
    <footer class="dialog-foot">
      <button class="button" onClick=${onClose}>Cancel</button>
      <button class="button button-bad" onClick=${onYes}>${yes}</button>
    </footer>
  <//>
`;
