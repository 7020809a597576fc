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

  const reachable = (box, name) => {
    if (box.scrollWidth > box.clientWidth + 1) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", name);
    } else {
      for (const attribute of ["tabindex", "role", "aria-label"]) box.removeAttribute(attribute);
    }
  };

  const fitFormulas = () => {
    for (const formula of document.querySelectorAll(".bd-article mjx-container")) {
      if (formula.hasAttribute("display")) {
        reachable(formula.parentElement, "formula");
        continue;
      }
      const column = formula.closest("p, li, dd, td, th, h1, h2, h3, h4, figcaption, summary");
      const box = formula.parentElement;
      if (!column || !box.matches("span.math")) continue;
      box.classList.toggle("wide", formula.offsetWidth > column.clientWidth);
      reachable(box, "formula");
    }
  };

  window.addEventListener("load", () => {
    for (const link of document.querySelectorAll("a.btn-download-source-button")) link.download = "";
    Promise.resolve(window.MathJax?.startup?.promise).then(fitFormulas);
    window.addEventListener("resize", fitFormulas);
  });
})();
