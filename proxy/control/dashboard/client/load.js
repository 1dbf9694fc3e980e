// Asking for what a view shows: loading, data, failure; asked again on demand, after a while, and when the tab is looked at again.

import { acceptAge } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "../vendor/preact-htm.js";

const REFRESH = "weighbridge:refresh";

/** Ask every view on the screen to load anew (key r, the refresh button, after a change). */
export const refreshAll = () => dispatchEvent(new Event(REFRESH));

/**
 * load: (signal) => Promise of data; asked again when one of `deps` changes.
 * every: seconds between quiet reloads while the tab is visible.
 * Data stays on the screen while the next is being fetched; `isStale` says so.
 */
export function useLoad(load, deps, { every = 0 } = {}) {
  const [state, set] = useState({ data: undefined, failure: null, isStale: true, at: null });
  const running = useRef(null);
  const run = useCallback(async (isQuiet) => {
    running.current?.abort();
    const controller = new AbortController();
    if (isQuiet) acceptAge(controller.signal, Math.round(every / 2));
    running.current = controller;
    set((old) => ({ ...old, isStale: true }));
    try {
      const data = await load(controller.signal);
      if (!controller.signal.aborted) set({ data, failure: null, isStale: false, at: Date.now() });
    } catch (failure) {
      if (!controller.signal.aborted) set((old) => ({ ...old, failure, isStale: false }));
    }
  }, deps);
  const reload = useCallback(() => run(false), [run]);

  useEffect(() => {
    reload();
    addEventListener(REFRESH, reload);
    const timer = every ? setInterval(() => document.hidden || run(true), every * 1000) : null;
    return () => {
      removeEventListener(REFRESH, reload);
      clearInterval(timer);
      running.current?.abort();
    };
  }, [run, reload, every]);
  return { ...state, reload };
}

/** A number that changes every `seconds`, for relative times. */
export function useTick(seconds) {
  const [tick, set] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => set((old) => old + 1), seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
  return tick;
}
