// Who looks: the key in this tab's session storage, and whom it stands for. The key is never put into a URL or kept longer.

const KEY = "weighbridge.key";
const IDENTITY = "weighbridge.identity";
const ZONE = "weighbridge.zone";
const listeners = new Set();
const known = JSON.parse(sessionStorage.getItem(IDENTITY) ?? "null");
let state = { phase: sessionStorage.getItem(KEY) ? (known ? "in" : "checking") : "out", identity: known, failure: null };

export const session = () => state;
export const key = () => sessionStorage.getItem(KEY);
export const isAdmin = () => state.identity?.role === "admin";

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
  set({ phase: state.phase === "checking" ? "checking" : "out", identity: null, failure: null });
  try {
    enter(await check());
  } catch (failure) {
    if (failure.status === 401 || failure.status === 403) logOut(failure);
    else set({ phase: "out", identity: null, failure });
  }
}

/** After a reload: what was known of the key holds at once; it is checked again while the view loads already. */
export async function resume(check) {
  if (state.phase !== "in") return logIn(key(), check);
  try {
    return enter(await check());
  } catch {
    return undefined; // a key that is no longer known has logged out by itself; all else the view says
  }
}

function enter(identity) {
  sessionStorage.setItem(IDENTITY, JSON.stringify(identity));
  if (state.phase !== "in" || JSON.stringify(identity) !== JSON.stringify(state.identity)) set({ phase: "in", identity, failure: null });
}

export function logOut(failure = null) {
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(IDENTITY);
  set({ phase: "out", identity: null, failure });
}

function set(next) {
  state = next;
  for (const listener of listeners) listener(state);
}
