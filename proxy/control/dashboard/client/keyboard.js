// Shortcuts: g and a letter goes to a view, single letters act on it. Never while something is being typed.

import { go } from "./route.js";
import { refreshAll } from "./load.js";

export const SHORTCUTS = [
  ["g o", "Overview"],
  ["g e", "Explore"],
  ["g u", "Users and teams"],
  ["g l", "Limits"],
  ["g a", "Alerts"],
  ["g r", "Records"],
  ["g m", "Models and prices"],
  ["g k", "Keys"],
  ["g d", "Audit"],
  ["g s", "System"],
  ["Ctrl K", "Find a view, user, team, model or call"],
  ["/", "Search or first filter"],
  ["r", "Load anew"],
  ["t", "Light or dark"],
  ["?", "This list"],
  ["Esc", "Close"],
];
const VIEWS = { o: "overview", e: "explore", u: "users", l: "limits", a: "alerts", r: "records", m: "models", k: "keys", d: "audit", s: "system" };
const WAIT = 1200;

export function listenToKeys({ onFind, onHelp, onTheme, seesAll }) {
  let leaderAt = 0;
  const press = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "k" && !document.querySelector("dialog[open]")) {
      event.preventDefault();
      onFind();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const isAfterLeader = Date.now() - leaderAt < WAIT;
    leaderAt = 0;
    if (isAfterLeader && VIEWS[event.key] && seesAll()) go(`#/${VIEWS[event.key]}`);
    else if (event.key === "g") leaderAt = Date.now();
    else if (event.key === "r") refreshAll();
    else if (event.key === "t") onTheme();
    else if (event.key === "?") onHelp();
    else if (event.key === "/") focusSearch(event);
  };
  addEventListener("keydown", press);
  return () => removeEventListener("keydown", press);
}

const isTyping = (target) => target.closest?.("input, textarea, select, [contenteditable]") !== null;

function focusSearch(event) {
  const field = document.querySelector("main [data-search], main .filters input, main .filters select");
  if (!field) return;
  event.preventDefault();
  field.focus();
}
