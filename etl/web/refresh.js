// Takes the page anew every few seconds, keeping what is unfolded, where one is and what is marked.
"use strict";
(() => {
  const every = Number(document.getElementById("main").dataset.every) * 1000;
  const pause = document.getElementById("pause");
  const away = document.getElementById("away");
  let paused = false;

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    if (!paused) refresh();
  });

  const take = (fresh, id) => {
    const old = document.getElementById(id);
    const next = fresh.getElementById(id);
    if (!old || !next) return;
    for (const each of old.querySelectorAll("details[open][id]")) {
      const same = next.querySelector(`#${CSS.escape(each.id)}`);
      if (same) same.open = true;
    }
    const at = [...old.querySelectorAll("[tabindex='0']")].map((each) => each.scrollLeft);
    old.replaceChildren(...next.childNodes);
    old.querySelectorAll("[tabindex='0']").forEach((each, n) => { each.scrollLeft = at[n] || 0; });
  };

  const busy = () =>
    paused || document.hidden || String(getSelection()) !== "" ||
    document.getElementById("main").contains(document.activeElement);

  const refresh = async () => {
    if (busy()) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!fresh.getElementById("main")) throw new Error("no page");
      if (busy()) return;
      document.title = fresh.title;
      for (const id of ["overall", "as-of", "main"]) take(fresh, id);
      away.hidden = true;
    } catch {
      away.hidden = false;
    }
  };

  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
})();
