// Light or dark: what was chosen here last, else what the system prefers. Runs before the page is drawn.
(() => {
  const KEY = "penstock-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is forbidden: the system's choice holds
    }
  }

  function apply() {
    const choice = chosen() ?? root.dataset.theme;
    if (choice) root.dataset.theme = choice;
    const dark = choice ? choice === "dark" : system.matches;
    document.getElementById("theme")?.setAttribute("aria-pressed", String(dark));
    return dark;
  }

  apply();
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    system.addEventListener("change", apply);
    document.getElementById("theme").addEventListener("click", () => {
      const next = apply() ? "light" : "dark";
      root.dataset.theme = next;
      try {
        localStorage.setItem(KEY, next);
      } catch {
        // as above: the choice lasts as long as the page
      }
      apply();
    });
  });
})();
