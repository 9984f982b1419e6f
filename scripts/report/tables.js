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
