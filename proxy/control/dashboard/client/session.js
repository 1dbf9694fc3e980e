// Who looks: by a key in this tab's session storage, or by the cookie of a log-in, which no script can read.
// A key is never put into a URL or kept longer than the tab.

const KEY = "weighbridge.key";
const IDENTITY = "weighbridge.identity";
const SIGNED_IN = "weighbridge.signed-in";
const ZONE = "weighbridge.zone";
const listeners = new Set();
const known = JSON.parse(sessionStorage.getItem(IDENTITY) ?? "null");
const mayBeIn = sessionStorage.getItem(KEY) !== null || localStorage.getItem(SIGNED_IN) !== null;
let state = { phase: mayBeIn ? (known ? "in" : "checking") : "out", identity: known, failure: null };

export const session = () => state;
export const key = () => sessionStorage.getItem(KEY);

/** Admins and auditors; what an auditor must not change, the API refuses. */
export const seesAll = () => ["admin", "auditor"].includes(state.identity?.role);

/** The zone that dates are cut and shown in: chosen here, else the house's. */
export const zone = () => localStorage.getItem(ZONE) || state.identity?.timezone || "UTC";
export const chosenZone = () => localStorage.getItem(ZONE);

export function chooseZone(name) {
  if (name) localStorage.setItem(ZONE, name);
  else localStorage.removeItem(ZONE);
  set({ ...state });
}

export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Try a key; `check` asks the house whom it stands for, and throws where it is not known. */
export async function logIn(candidate, check) {
  sessionStorage.setItem(KEY, candidate.trim());
  set({ phase: "out", identity: null, failure: null });
  await attempt(check);
}

/** A log-in with a cookie has begun, or is about to on another page: remembered, so that the next load looks for it. */
export const rememberSignIn = () => localStorage.setItem(SIGNED_IN, "yes");

/** What the page starts with. What was known of the key before a reload holds at once, and is checked while the view loads. */
export async function resume(check) {
  if (mayBeIn) await attempt(check);
}

export async function attempt(check) {
  try {
    const identity = await check();
    sessionStorage.setItem(IDENTITY, JSON.stringify(identity));
    if (state.phase !== "in" || JSON.stringify(identity) !== JSON.stringify(state.identity)) set({ phase: "in", identity, failure: null });
  } catch (failure) {
    if (failure.status === 401 || failure.status === 403) logOut(key() === null && state.phase === "checking" ? null : failure);
    else if (state.phase !== "in") set({ phase: "out", identity: null, failure });
  }
}

export function logOut(failure = null) {
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(IDENTITY);
  localStorage.removeItem(SIGNED_IN);
  set({ phase: "out", identity: null, failure });
}

function set(next) {
  state = next;
  for (const listener of listeners) listener(state);
}
