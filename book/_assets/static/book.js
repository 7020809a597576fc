// What style sheets cannot do: open the menus over the text, save a notebook instead of showing it
// as text, and let a formula that is wider than its column scroll inside it, within reach of the
// keyboard.
(() => {
  const menus = () => document.querySelectorAll("[data-bs-toggle=dropdown]");

  const show = (button, open) => {
    button.classList.toggle("show", open);
    button.setAttribute("aria-expanded", open);
  };

  document.addEventListener("click", (event) => {
    for (const button of menus()) {
      show(button, button.contains(event.target) && !button.classList.contains("show"));
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const button of menus()) {
      if (button.classList.contains("show")) button.focus();
      show(button, false);
    }
  });

  const reachable = (box) => {
    const scrolls = box.scrollWidth > box.clientWidth;
    const attributes = { tabindex: "0", role: "group", "aria-label": "formula" };
    for (const [name, value] of Object.entries(attributes)) {
      if (scrolls) box.setAttribute(name, value);
      else box.removeAttribute(name);
    }
  };

  const width = (box) => box.getBoundingClientRect().width;

  const fitFormulas = () => {
    for (const formula of document.querySelectorAll(".bd-article mjx-container")) {
      const box = formula.parentElement;
      const column = formula.closest("p, li, dd, td, th, h1, h2, h3, h4, figcaption, summary");
      if (formula.hasAttribute("display")) {
        reachable(formula);
      } else if (column && box.matches("span.math")) {
        // What must not part from the formula needs its room, too.
        const beside = width(box.closest(".together") ?? box) - width(box);
        box.classList.toggle("wide", width(formula) + beside > column.clientWidth);
        reachable(box);
      }
    }
  };

  window.addEventListener("load", () => {
    for (const link of document.querySelectorAll("a.btn-download-source-button")) link.download = "";
    Promise.all([window.MathJax?.startup?.promise, document.fonts.ready]).then(fitFormulas);
    window.addEventListener("resize", fitFormulas);
  });
})();
