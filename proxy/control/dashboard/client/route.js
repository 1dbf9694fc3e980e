// Where in the dashboard: #/view/part?filter=value. Everything that changes what is seen stands in the URL, so that it can be shared.

import { useEffect, useState } from "../vendor/preact-htm.js";

export function parse(hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [view = "", ...rest] = path.split("/").map(decode);
  return { view: view || "overview", part: rest.join("/") || null, query: Object.fromEntries(new URLSearchParams(search)) };
}

export function href(view, query = {}, part = null) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = given.length ? "?" + new URLSearchParams(given) : "";
  return `#/${view}${part === null ? "" : "/" + encodeURIComponent(part)}${search}`;
}

export const route = () => parse(location.hash);

export function go(target) {
  location.hash = target;
}

/** Change filters in place: no new entry in the history for each keystroke. */
export function setQuery(changes) {
  const { view, part, query } = route();
  history.replaceState(null, "", href(view, { ...query, ...changes }, part));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute() {
  const [current, set] = useState(route());
  useEffect(() => {
    const follow = () => set(route());
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return current;
}

/** The part of a query that says when; views hand it on to each other. */
export const periodOf = ({ range, from, to }) => (from || to ? { from, to } : { range });

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
