// The panel: reads the sliders, asks the mappings, shows weights as bars and groups as outlines.
{
  const panel = document.getElementById("panel");
  const colours = JSON.parse(panel.dataset.colours);
  const all = (selector, within = panel) => [...within.querySelectorAll(selector)];
  const sliders = all(".scores input"), masks = all(".masks input");

  const rows = all("[data-mapping]");

  // γ is one for all; the other strengths are each mapping's own.
  function strengths({ mapping, strengths }) {
    const id = (name) => (name === "gamma" ? name : `${name}-${mapping}`);
    const value = (name) => document.getElementById(id(name)).valueAsNumber;
    return Object.fromEntries(strengths.split(" ").map((name) => [name, value(name)]));
  }

  function show() {
    for (const output of all(".strengths output")) {
      output.textContent = document.getElementById(output.htmlFor.value).value;
    }
    const scores = sliders.map((slider) => slider.valueAsNumber), mask = masks.map((box) => box.checked);
    sliders.forEach((slider, i) => {
      slider.nextElementSibling.textContent = mask[i] ? scores[i].toFixed(2).replace("-", "−") : "–";
      slider.disabled = !mask[i];
    });
    const answers = rows.map(({ dataset }) => attend(dataset.mapping, scores, strengths(dataset), mask));
    const heaviest = Math.max(0.5, ...answers.flatMap(({ weights }) => weights)); // one scale for all
    answers.forEach(({ weights, groups }, k) => {
      const outlines = outlined(groups);
      all(".col", rows[k]).forEach((column, i) => fill(column, weights[i], weights[i] / heaviest, outlines[i]));
    });
  }

  function fill(column, weight, height, outline) {
    const [room, number] = column.children;
    room.firstElementChild.style.height = `${100 * height}%`;
    room.className = `room ${outline.sides}`;
    room.style.borderColor = outline.colour;
    number.textContent = weight === 0 ? "0" : weight < 0.0005 ? "<.001" : weight.toFixed(3);
    number.classList.toggle("nothing", weight === 0);
    column.dataset.weight = weight;
  }

  // For every position the colour of its group, if that has several members, and which sides to draw.
  function outlined(groups) {
    const members = (group) => groups.filter((other) => other === group).length;
    const merged = [...new Set(groups)].filter((group) => group > 0 && members(group) > 1);
    return groups.map((group, i) => {
      if (!merged.includes(group)) return { sides: "", colour: "" };
      const starts = groups[i - 1] !== group, stops = groups[i + 1] !== group;
      return {
        sides: `in ${starts ? "starts" : ""} ${stops ? "stops" : ""}`,
        colour: colours[merged.indexOf(group) % colours.length],
      };
    });
  }

  panel.addEventListener("input", show);
  panel.addEventListener("reset", () => setTimeout(show));
  document.getElementById("draw").addEventListener("click", () => {
    for (const slider of sliders) slider.value = Math.random() * 3 - 1.5;
    show();
  });
  show();
}
// Sorting by the head of a column, opening what a link leads to, copying commands.
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
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
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
    const head = target.closest("thead th"), button = target.closest("button.copy");
    if (head) sort(head);
    if (button) copy(button);
    if (target.closest(`a[href="${location.hash}"]`)) open(); // again where we are already
  });
  addEventListener("hashchange", open);
  open();
}
