// What style sheets cannot do: open the menus over the text, save a notebook instead of showing it
// as text, and let a formula that is wider than its column break, or else scroll inside it, within
// reach of the keyboard.
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

  // A formula that is wider than its column may go on in the next line, before an operator.
  const mayBreak = (formula) => {
    for (const sign of formula.querySelectorAll("mjx-math > mjx-mo[space], mjx-math > mjx-mrow > mjx-mo[space]")) {
      const place = document.createElement("span");
      place.className = "may-break";
      place.textContent = "\u200b";
      sign.before(place);
    }
  };

  const fitFormulas = () => {
    for (const place of document.querySelectorAll(".may-break")) place.remove();
    for (const box of document.querySelectorAll("span.math")) box.classList.remove("broken", "wide");
    const tooWide = (formulas) => formulas.filter((formula) => {
      const column = formula.closest("p, li, dd, td, th, h1, h2, h3, h4, figcaption, summary");
      // What must not part from the formula needs its room, too.
      return column && width(formula.closest(".together") ?? formula) > column.clientWidth;
    });
    const formulas = [...document.querySelectorAll(".bd-article mjx-container")];
    const inline = formulas.filter((formula) => formula.parentElement.matches("span.math"));
    const broken = tooWide(inline);
    for (const formula of broken) {
      formula.parentElement.classList.add("broken");
      mayBreak(formula);
    }
    for (const formula of tooWide(broken)) formula.parentElement.classList.replace("broken", "wide");
    for (const formula of formulas) reachable(formula.hasAttribute("display") ? formula : formula.parentElement);
  };

  window.addEventListener("load", () => {
    for (const link of document.querySelectorAll("a.btn-download-source-button")) link.download = "";
    Promise.all([window.MathJax?.startup?.promise, document.fonts.ready]).then(fitFormulas);
    window.addEventListener("resize", fitFormulas);
  });
})();
