// Filters the sample of completions. All of it is in the page: nothing is fetched, and what a model
// wrote is only ever read as text. `#wrong`, or `#wrong&method=ReFT&search=apples`, opens a view.
"use strict";

const PAGE = 30;
const section = document.getElementById("completions");
const form = document.getElementById("filters");

if (form) {
  const words = (element) => element.textContent.toLowerCase().replace(/\s+/g, " ");
  const alone = (card) => {
    const copy = card.cloneNode(true);
    copy.querySelectorAll(".answer").forEach((answer) => answer.remove());
    return copy;
  };
  const cards = [...section.querySelectorAll("article")].map((element) => ({
    element,
    answers: [...element.querySelectorAll(".answer")].map((answer) => ({
      element: answer,
      method: answer.dataset.method,
      filters: answer.dataset.filters.split(" "),
      words: words(answer),
    })),
    words: words(alone(element)),
  }));
  const more = document.getElementById("more");
  const shows = [...form.elements.show].map((radio) => radio.value);
  let limit = PAGE;

  const wanted = () => ({
    show: form.elements.show.value,
    method: form.elements.method.value,
    search: form.elements.search.value,
  });

  const draw = () => {
    const { show, method, search } = wanted();
    const sought = search.trim().toLowerCase().replace(/\s+/g, " ");
    let problems = 0;
    let completions = 0;
    for (const card of cards) {
      // Words of the problem show all of its answers that fit, words of an answer that one alone.
      const asked = card.words.includes(sought);
      let inside = 0;
      for (const answer of card.answers) {
        const fits = (show === "all" || answer.filters.includes(show))
          && (method === "" || answer.method === method)
          && (asked || answer.words.includes(sought));
        answer.element.hidden = !fits;
        inside += fits ? 1 : 0;
      }
      const found = inside > 0;
      card.element.hidden = !found || problems >= limit;
      problems += found ? 1 : 0;
      completions += found ? inside : 0;
    }
    const left = problems - limit;
    document.getElementById("found").textContent =
      `${completions} completions of ${problems} problems` + (left > 0 ? `, ${limit} shown` : "");
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(PAGE, left)} more`;
  };

  const remember = () => {
    limit = PAGE;
    const { show, method, search } = wanted();
    const rest = new URLSearchParams();
    if (method) rest.set("method", method);
    if (search) rest.set("search", search);
    history.replaceState(null, "", `#${[show, ...(rest.size ? [rest] : [])].join("&")}`);
    draw();
  };

  const recall = () => {
    const [show, ...rest] = location.hash.slice(1).split("&");
    if (shows.includes(show)) {
      const given = new URLSearchParams(rest.join("&"));
      form.elements.show.value = show;
      form.elements.method.value = given.get("method") ?? "";
      form.elements.search.value = given.get("search") ?? "";
      limit = PAGE;
      section.scrollIntoView();
    }
    draw();
  };

  form.addEventListener("input", remember);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    limit += PAGE;
    draw();
  });
  window.addEventListener("hashchange", recall);
  form.hidden = false;
  recall();
}
