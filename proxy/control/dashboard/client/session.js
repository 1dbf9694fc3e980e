// Who looks: the key in this tab's session storage, and whom it stands for. The key is never put into a URL or kept longer.

const KEY = "weighbridge.key";
const ZONE = "weighbridge.zone";
const listeners = new Set();
let state = { phase: sessionStorage.getItem(KEY) ? "checking" : "out", identity: null, failure: null };

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
    set({ phase: "in", identity: await check(), failure: null });
  } catch (failure) {
    if (failure.status === 401 || failure.status === 403) sessionStorage.removeItem(KEY);
    set({ phase: "out", identity: null, failure });
  }
}

export function logOut(failure = null) {
  sessionStorage.removeItem(KEY);
  set({ phase: "out", identity: null, failure });
}

function set(next) {
  state = next;
  for (const listener of listeners) listener(state);
}
