// The theme is that of Airflow, which keeps it as localStorage.theme; without one, the system's.
// It is read before the page is painted.
(() => {
  const apply = () => {
    let theme = null;
    try {
      theme = localStorage.getItem("theme");
    } catch {
      // Storage is closed to this page: the system's theme stays.
    }
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  };
  apply();
  addEventListener("storage", (event) => {
    if (event.key === "theme" || event.key === null) apply();
  });
  if (window.parent !== window) document.documentElement.dataset.framed = "";
})();
