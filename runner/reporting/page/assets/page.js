"use strict";
// The page's own script: draws the charts, sorts the table, unfolds its rows. All texts become text nodes, never HTML.
(() => {
  const read = (name) => JSON.parse(document.getElementById(name).textContent);
  const charts = read("charts");
  const details = read("details");
  const colours = ["1", "2", "3", "4", "5", "6", "7", "0"].map((number) => `var(--c${number})`);
  const narrow = window.matchMedia("(max-width: 600px)").matches;
  const limit = narrow ? 110 : 260;
  const text = { labelColor: "currentColor", titleColor: "currentColor" };
  const config = {
    background: null,
    font: "system-ui, sans-serif",
    axis: { ...text, labelFontSize: 12, titleFontSize: 12, gridColor: "var(--line)", gridOpacity: 0.5,
      domainColor: "var(--line)", tickColor: "var(--line)", labelLimit: limit },
    axisX: { labelOverlap: true, titleLimit: narrow ? 250 : 800 },
    legend: { ...text, labelFontSize: 12, titleFontSize: 12, labelLimit: 300, columns: narrow ? 2 : 6 },
    view: { stroke: "var(--line)" },
    range: { category: colours },
  };
  const options = { ast: true, renderer: "svg", actions: false, config, tooltip: { disableDefaultStyle: true } };

  const element = (name, content, className) => {
    const made = document.createElement(name);
    if (content !== undefined) { made.textContent = content; }
    if (className) { made.className = className; }
    return made;
  };

  const shorten = (value) => {
    if (Array.isArray(value)) { value.forEach(shorten); }
    if (value === null || typeof value !== "object") { return; }
    if (value.labelLimit > limit) { value.labelLimit = limit; }
    Object.values(value).forEach(shorten);
  };

  const draw = (place, spec, rows) => {
    const own = rows === undefined ? spec : { ...spec, datasets: { rows } };
    shorten(own.encoding);
    (own.layer ?? []).forEach((layer) => shorten(layer.encoding));
    return vegaEmbed(place, own, options).catch((error) => place.replaceChildren(element("p", String(error), "bad")));
  };

  const cells = (row, values, kind = "td") => values.forEach((value) => row.append(element(kind, String(value ?? "–"))));

  const table = (titles, lines) => {
    const made = element("table");
    const head = made.createTHead().insertRow();
    cells(head, titles, "th");
    const body = made.createTBody();
    lines.forEach((line) => cells(body.insertRow(), line));
    const scroll = element("div", undefined, "scroll");
    scroll.append(made);
    return scroll;
  };

  const figure = (place, heading, spec, rows, caption) => {
    const chart = element("div", undefined, "chart");
    const words = element("figcaption");
    words.append(element("b", "How to read this. "), caption);
    place.append(element("h3", heading), chart, words);
    draw(chart, spec, rows);
  };

  const fill = (place, own) => {
    const part = (heading, node) => place.append(element("h3", heading), node);
    const fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits));
    if (own.notes?.length) {
      own.notes.forEach((line) => place.append(element("p", line)));
    }
    own.unreadable.forEach((line) => place.append(element("p", `cannot be read: ${line}`, "bad")));
    if (own.replicates?.length) {
      const lines = own.replicates.map((one) =>
        [one.number + 1, one.rounds, `${fixed(one.speedup, 3)}×`, fixed(one.throughput, 1)]);
      part("Replicates", table(["fresh process", "rounds", "speedup", "samples/s"], lines));
    }
    if (own.rounds?.length) {
      figure(place, "Rounds", charts.rounds, own.rounds, "Each mark is the speedup in one round, and each colour a fresh "
        + "pair of processes. Colours that lie apart show that processes differ, which the interval includes; "
        + "contaminated rounds do not count.");
    }
    if (own.times) {
      const beyond = own.times.beyond ? ` ${own.times.beyond} slower ones are not drawn.` : "";
      figure(place, "Batch times", charts.times, own.times.bars, `Each bar counts batches of that duration, of `
        + `${own.times.all} in all rounds.${beyond} A second hill or a long tail means that some requests wait longer.`);
    }
    if (own.evidence?.length) {
      const lines = own.evidence.map((one) =>
        [one.state, one.knob, one.asked, one.observed, one.source, one.remedy]);
      part("What took effect", table(["state", "setting", "requested", "observed", "where", "remedy"], lines));
    }
    const phases = Object.entries(own.phases ?? {});
    if (phases.length) {
      part("Seconds by phase", table(phases.map(([name]) => name), [phases.map(([, seconds]) => seconds)]));
    }
    if (own.command) { part("To run it again", element("pre", own.command)); }
    if (own.process) {
      const several = own.processes > 1 ? ` (the first of ${own.processes})` : "";
      part(`The measured process${several}`, element("pre", own.process));
    }
    if (own.environment) {
      const lines = Object.entries(own.environment).map(([name, value]) => `${name}=${value}`);
      part("Its environment", element("pre", lines.join("\n")));
    }
    if (own.log) { part("The end of its log", element("pre", own.log)); }
  };

  const unfold = (button) => {
    const body = button.closest("tbody");
    const row = body.querySelector("tr.details");
    const place = row.firstElementChild;
    row.hidden = !row.hidden;
    button.setAttribute("aria-expanded", String(!row.hidden));
    if (!row.hidden && !place.firstChild) {
      const inside = element("div", undefined, "inside");
      place.append(inside);
      fill(inside, details[Number(body.dataset.row)]);
    }
  };

  const value = (body, column) => {
    const cell = body.rows[0].cells[column];
    const written = cell.dataset.value ?? cell.textContent;
    const number = Number(written);
    return written !== "" && Number.isFinite(number) ? number : written;
  };

  const compare = (one, other) => {
    if (typeof one === "number" && typeof other === "number") { return one - other; }
    if (typeof one !== typeof other) { return typeof one === "number" ? -1 : 1; }
    return one.localeCompare(other);
  };

  const sort = (button) => {
    const heading = button.closest("th");
    const own = heading.closest("table");
    const down = heading.getAttribute("aria-sort") === "descending"
      ? false
      : heading.getAttribute("aria-sort") === "ascending" || heading.classList.contains("number");
    own.querySelectorAll("thead th").forEach((one) => one.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const column = Number(button.dataset.sort);
    const missing = (body) => value(body, column) === "–" || value(body, column) === "";
    const bodies = [...own.tBodies].sort((one, other) =>
      missing(one) - missing(other) || (down ? -1 : 1) * compare(value(one, column), value(other, column)));
    own.append(...bodies);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.matches(".unfold")) { unfold(button); }
    if (button?.dataset.sort !== undefined) { sort(button); }
  });
  document.querySelectorAll("[data-chart]").forEach((place) => draw(place, charts[place.dataset.chart]));
})();
