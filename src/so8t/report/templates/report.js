"use strict";
// Filters the answers; without it all of them are shown. Twenty at a time, so that the sections
// after them stay near.
(() => {
  const form = document.querySelector("form.filters");
  if (!form) return;
  const step = 20;
  const samples = [...document.querySelectorAll("article.sample")];
  const count = form.querySelector("output");
  const more = document.querySelector("p.more");
  const nothing = document.querySelector("p.nothing");
  let shown = step;
  const haystack = new Map();
  const fits = (sample, side, category, words) => {
    const own = sample.dataset.side;
    const sided = side === "all" || side === own || (side === "differs" && (own === "a" || own === "b"));
    if (!sided || (category && sample.dataset.category !== category)) return false;
    if (!words) return true;
    if (!haystack.has(sample)) haystack.set(sample, sample.textContent.toLowerCase());
    return haystack.get(sample).includes(words);
  };
  const update = () => {
    const side = form.elements.side.value;
    const category = form.elements.category.value;
    const words = form.elements.words.value.trim().toLowerCase();
    let matches = 0;
    for (const sample of samples) {
      const fit = fits(sample, side, category, words);
      if (fit) matches += 1;
      sample.hidden = !fit || matches > shown;
    }
    const visible = Math.min(matches, shown);
    count.textContent = count.dataset.form
      .replace("[shown]", visible.toLocaleString("en"))
      .replace("[matches]", matches.toLocaleString("en"));
    more.hidden = matches <= shown;
    nothing.hidden = matches > 0;
  };
  const restart = () => {
    shown = step;
    update();
  };
  form.addEventListener("input", restart);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.querySelector("button").addEventListener("click", () => {
    shown += step;
    update();
  });
  window.addEventListener("beforeprint", () => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
  });
  form.hidden = false;
  update();
})();
