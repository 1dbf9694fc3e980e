// Short notes about what was just done, read out politely.

import { html, useEffect, useState } from "../vendor/preact-htm.js";

const SHOWN_MS = 5000;
const listeners = new Set();

export function tell(text, isBad = false) {
  for (const listener of listeners) listener({ text, isBad, id: Math.random() });
}

/** Run a change; say what came of it. Returns whether it worked. */
export async function attempt(change, done) {
  try {
    await change();
    if (done) tell(done);
    return true;
  } catch (failure) {
    tell(failure.message, true);
    return false;
  }
}

export function Toasts() {
  const [notes, set] = useState([]);
  useEffect(() => {
    const add = (note) => {
      set((old) => [...old, note]);
      setTimeout(() => set((old) => old.filter((one) => one.id !== note.id)), SHOWN_MS);
    };
    listeners.add(add);
    return () => listeners.delete(add);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${notes.map((note) => html`<p key=${note.id} class=${"toast" + (note.isBad ? " toast-bad" : "")}>${note.text}</p>`)}
  </div>`;
}
