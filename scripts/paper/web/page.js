// The panel: a row for each word; reads its sliders, asks the mappings, shows weights as bars and groups as
// outlines. What is set stands in the address behind "#try?", so that it can be shared and outlives a reload.
{
  const LONGEST = 12; // words: so many fit the screen of a phone
  const panel = document.getElementById("panel"), sentence = document.getElementById("sentence");
  const colours = JSON.parse(panel.dataset.colours);
  const all = (selector, within = panel) => [...within.querySelectorAll(selector)];
  const body = panel.querySelector("tbody"), row = panel.querySelector("template").content.firstElementChild;
  const heads = all("[data-mapping]"), strengths = all(".strengths input");

  // γ is one for all; the other strengths are each mapping's own.
  function strengthsOf({ mapping, strengths }) {
    const id = (name) => (name === "gamma" ? name : `${name}-${mapping}`);
    const value = (name) => document.getElementById(id(name)).valueAsNumber;
    return Object.fromEntries(strengths.split(" ").map((name) => [name, value(name)]));
  }

  // One row for each word of the sentence; rows that stay keep their score.
  function setWords() {
    const words = sentence.value.split(/\s+/).filter(Boolean).slice(0, LONGEST);
    while (body.rows.length > words.length) body.deleteRow(-1);
    while (body.rows.length < words.length) {
      body.append(row.cloneNode(true));
      all("input", body.lastElementChild)[1].value = 0;
    }
    words.forEach((word, i) => {
      const [box, slider] = all("input", body.rows[i]);
      body.rows[i].querySelector("span").textContent = word;
      box.ariaLabel = `${word} may be attended to`;
      slider.ariaLabel = `score of ${word}`;
    });
  }

  function show() {
    for (const output of all(".strengths output")) {
      output.textContent = document.getElementById(output.htmlFor.value).value;
    }
    const rows = [...body.rows], mask = all("tbody [type=checkbox]").map((box) => box.checked);
    const scores = all("tbody [type=range]").map((slider) => slider.valueAsNumber);
    rows.forEach((row, i) => {
      row.querySelector("output").textContent = mask[i] ? scores[i].toFixed(2).replace("-", "−") : "masked";
      row.querySelector("[type=range]").disabled = !mask[i];
    });
    const answers = heads.map(({ dataset }) => attend(dataset.mapping, scores, strengthsOf(dataset), mask));
    const heaviest = Math.max(0.5, ...answers.flatMap(({ weights }) => weights)); // one scale for all
    answers.forEach(({ weights, groups }, k) => {
      const outlines = outlined(groups);
      rows.forEach((row, i) => fill(row.cells[k + 1], weights[i], weights[i] / heaviest, outlines[i]));
    });
  }

  function fill(cell, weight, length, outline) {
    cell.className = outline.sides;
    cell.style.setProperty("--length", `${100 * length}%`);
    cell.style.setProperty("--group", outline.colour);
    cell.textContent = weight === 0 ? "" : weight < 0.0005 ? "<.001" : weight.toFixed(3).replace(/^0/, "");
    cell.dataset.weight = weight;
  }

  // For every position the colour of its group, if that has several members, and which sides to draw.
  function outlined(groups) {
    const members = (group) => groups.filter((other) => other === group).length;
    const merged = [...new Set(groups)].filter((group) => group > 0 && members(group) > 1);
    return groups.map((group, i) => {
      if (!merged.includes(group)) return { sides: "", colour: "" };
      const starts = groups[i - 1] !== group, stops = groups[i + 1] !== group;
      return {
        sides: `in${starts ? " starts" : ""}${stops ? " stops" : ""}`,
        colour: colours[merged.indexOf(group) % colours.length],
      };
    });
  }

  // Sliders refuse what is no number or out of their range, so that any address will do.
  function set({ words, scores, masked = "", ...others }) {
    sentence.value = words;
    setWords();
    all("tbody [type=range]").forEach((slider, i) => (slider.value = scores.split(" ")[i] ?? 0));
    all("tbody [type=checkbox]").forEach((box, i) => (box.checked = !masked.split(" ").includes(String(i))));
    for (const slider of strengths) slider.value = others[slider.id] ?? slider.defaultValue;
    show();
  }

  function readAddress() {
    const [place, query] = location.hash.split("?"), first = panel.dataset.scores;
    const found = place === "#try" ? Object.fromEntries(new URLSearchParams(query)) : {};
    if (found.words || !body.rows.length) set({ words: sentence.defaultValue, scores: first, ...found });
  }

  let waiting;
  function writeAddress() {
    const boxes = all("tbody [type=checkbox]");
    const query = new URLSearchParams({
      words: sentence.value,
      scores: all("tbody [type=range]").map((slider) => slider.value).join(" "),
      masked: boxes.flatMap((box, i) => (box.checked ? [] : [i])).join(" "),
      ...Object.fromEntries(strengths.map((slider) => [slider.id, slider.value])),
    });
    clearTimeout(waiting); // browsers refuse more than a few a second
    waiting = setTimeout(() => history.replaceState(null, "", `#try?${query}`), 150);
  }

  sentence.addEventListener("input", setWords);
  panel.addEventListener("input", show);
  panel.addEventListener("change", writeAddress);
  panel.addEventListener("submit", (event) => event.preventDefault());
  panel.addEventListener("reset", (event) => {
    event.preventDefault();
    set({ words: sentence.defaultValue, scores: panel.dataset.scores });
    writeAddress();
  });
  document.getElementById("draw").addEventListener("click", () => {
    for (const slider of all("tbody [type=range]")) slider.value = Math.random() * 3 - 1.5;
    show();
    writeAddress();
  });
  addEventListener("hashchange", readAddress);
  readAddress();
}
// Sorting by the head of a column, opening what a link leads to, copying commands, printing.
{
  const key = (row, column) => row.cells[column].dataset.sort ?? "";
  const word = (row, column) => row.cells[column].textContent.trim();

  function compare(a, b, column, sign) {
    const [x, y] = [key(a, column), key(b, column)];
    if (x !== "" && y !== "") return sign * (Number(x) - Number(y));
    if (x !== y) return x === "" ? 1 : -1; // what has no number comes last, whichever way
    return sign * word(a, column).localeCompare(word(b, column));
  }

  function sort(head) {
    const table = head.closest("table"), heads = [...head.parentElement.cells], column = heads.indexOf(head);
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = head.ariaSort === first ? other : first;
    for (const one of heads) one.ariaSort = one === head ? order : "none";
    table.classList.add("sorted"); // what a row shares with the one above is said again
    const body = table.tBodies[0], sign = order === "ascending" ? 1 : -1;
    body.append(...[...body.rows].sort((a, b) => compare(a, b, column, sign)));
  }

  function open() {
    const target = document.getElementById(location.hash.slice(1).split("?")[0]);
    if (!target) return;
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
      if (node.matches(".tabs > div")) node.previousElementSibling.control.checked = true;
    }
    if (target.classList.contains("runs")) for (const run of target.querySelectorAll("details")) run.open = true;
    target.scrollIntoView();
  }

  async function copy(button) {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code); // where the clipboard is refused, it can be copied by hand
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected";
    }
  }

  document.addEventListener("click", ({ target }) => {
    const head = target.closest("th[aria-sort]"), button = target.closest("button.copy");
    if (head) sort(head);
    if (button) copy(button);
    if (location.hash && target.closest("a")?.hash === location.hash) open(); // again where we are already
  });
  let folds = []; // which paper does not have, but for those of single runs
  addEventListener("beforeprint", () => {
    folds = document.querySelectorAll("details.printed:not([open])");
    for (const fold of folds) fold.open = true;
  });
  addEventListener("afterprint", () => folds.forEach((fold) => (fold.open = false)));
  addEventListener("hashchange", open);
  open();
}
