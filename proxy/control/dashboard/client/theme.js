// Light or dark: what the system says, unless chosen here. A classic script in the head, so that no wrong colour flashes.
(() => {
  const KEY = "weighbridge.theme";
  const apply = (theme) => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  apply(localStorage.getItem(KEY));
  globalThis.weighbridgeTheme = {
    current: () => localStorage.getItem(KEY) ?? system(),
    toggle() {
      const next = this.current() === "dark" ? "light" : "dark";
      if (next === system()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
      apply(localStorage.getItem(KEY));
      return next;
    },
  };
})();
