"use strict";
// Tables of many rows: only those in sight are in the document. A table's data stand beside it as
// JSON, column by column: words with an index into them, or numbers.
(() => {
  const HEIGHT = 30, BEYOND = 12, MINUS = "\u2212", NONE = "\u2013";

  const read = (column) => {
    const { words, index, values } = column;
    if (words) return (row) => words[index ? index[row] : 0];
    return Array.isArray(values) ? (row) => values[row] : () => values;
  };

  const shown = (column, value) => {
    if (value === null || value === undefined) return NONE;
    if (column.words) return value;
    const digits = column.whole ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 4 };
    return value.toLocaleString("en-US", digits).replace("-", MINUS);
  };

  // "> 8", "<=3", "= 5"; anything else is text to look for.
  const test = (column, wanted) => {
    const found = /^\s*(>=|<=|>|<|=)\s*(-?[\d.,eE+-]+)\s*$/.exec(wanted.replace(MINUS, "-"));
    if (column.words || !found) {
      const text = wanted.trim().toLowerCase();
      return (value) => shown(column, value).toLowerCase().includes(text);
    }
    const limit = Number(found[2].replace(/,/g, ""));
    const compare = { ">": (v) => v > limit, "<": (v) => v < limit, "=": (v) => v === limit, ">=": (v) => v >= limit, "<=": (v) => v <= limit }[found[1]];
    return (value) => value !== null && compare(value);
  };

  class Rows {
    constructor(place) {
      const data = JSON.parse(place.querySelector("script").textContent);
      this.columns = data.columns.map((column) => ({ ...column, at: read(column) }));
      this.seen = this.columns.filter((column) => !column.hidden);
      this.count = data.rows;
      this.order = Array.from({ length: data.rows }, (_, row) => row);
      this.filters = new Map();
      this.sorted = null;
      this.place = place;
      this.scroll = place.querySelector(".scroll");
      this.body = place.querySelector("tbody");
      this.said = place.querySelector(".count");
      this.detail = place.querySelector(".detail");
      this.search = place.querySelector(".bar input");
      this.listen();
      this.choose();
    }

    listen() {
      let waiting = false;
      this.scroll.addEventListener("scroll", () => {
        if (waiting) return;
        waiting = true;
        requestAnimationFrame(() => { waiting = false; this.draw(); });
      });
      if (this.search) this.search.addEventListener("input", () => this.choose());
      this.place.querySelectorAll("thead th").forEach((head, number) => {
        head.querySelector("button").addEventListener("click", () => this.sort(head, number));
        if (this.search) this.filter(head, this.seen[number]);
      });
      for (const event of ["mouseover", "click"]) {
        this.body.addEventListener(event, ({ target }) => {
          const line = target.closest("tr[data-row]");
          if (line) this.detail.textContent = this.describe(Number(line.dataset.row));
        });
      }
    }

    filter(head, column) {
      const few = column.words && column.words.length > 1 && column.words.length <= 12;
      const input = document.createElement(few ? "select" : "input");
      input.setAttribute("aria-label", `filter ${column.label}`);
      if (few) {
        input.append(new Option("all", ""), ...column.words.map((word) => new Option(word ?? NONE, word ?? NONE)));
      } else {
        input.placeholder = column.words ? "contains" : "> 0";
      }
      input.addEventListener("input", () => {
        if (input.value.trim() === "") this.filters.delete(column);
        else this.filters.set(column, few ? (value) => (value ?? NONE) === input.value : test(column, input.value));
        this.choose();
      });
      head.append(input);
    }

    choose() {
      const terms = (this.search ? this.search.value : "").toLowerCase().split(/\s+/).filter(Boolean);
      const texts = this.columns.filter((column) => column.words);
      const fits = (row) => {
        for (const [column, accepts] of this.filters) if (!accepts(column.at(row))) return false;
        if (!terms.length) return true;
        const text = texts.map((column) => column.at(row) ?? "").join(" ").toLowerCase();
        return terms.every((term) => text.includes(term));
      };
      this.order = [];
      for (let row = 0; row < this.count; row++) if (fits(row)) this.order.push(row);
      this.arrange();
    }

    sort(head, number) {
      const falls = head.getAttribute("aria-sort") === "ascending";
      this.place.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      this.sorted = { column: this.seen[number], falls };
      this.arrange();
    }

    arrange() {
      if (this.sorted) {
        const { column, falls } = this.sorted, sign = falls ? -1 : 1;
        const natural = new Intl.Collator("en", { numeric: true }).compare;
        this.order.sort((a, b) => {
          const [x, y] = [column.at(a), column.at(b)];
          if (x === y) return a - b;
          if (x === null || y === null) return x === null ? 1 : -1; // what is missing comes last
          return sign * (column.words ? natural(x, y) : x - y) || a - b;
        });
      }
      const all = this.count.toLocaleString("en-US");
      this.said.textContent = this.order.length === this.count ? `${all} rows` : `${this.order.length.toLocaleString("en-US")} of ${all} rows`;
      this.scroll.scrollTop = 0;
      this.draw();
    }

    draw() {
      const first = Math.max(0, Math.floor(this.scroll.scrollTop / HEIGHT) - BEYOND);
      const room = Math.ceil((this.scroll.clientHeight || 700) / HEIGHT) + 2 * BEYOND;
      const last = Math.min(this.order.length, first + room);
      const lines = this.order.slice(first, last).map((row) => this.line(row));
      this.body.replaceChildren(this.gap(first), ...lines, this.gap(this.order.length - last));
    }

    gap(rows) {
      const line = document.createElement("tr"), cell = line.insertCell();
      line.className = "gap";
      cell.colSpan = this.seen.length;
      line.style.height = cell.style.height = `${rows * HEIGHT}px`;
      return line;
    }

    line(row) {
      const line = document.createElement("tr");
      line.dataset.row = row;
      for (const column of this.seen) {
        const cell = line.insertCell();
        cell.textContent = shown(column, column.at(row));
        if (!column.words) cell.className = "number";
        cell.title = String(column.at(row) ?? "");
      }
      return line;
    }

    describe(row) {
      const known = this.columns.filter((column) => ![null, ""].includes(column.at(row)));
      return known.map((column) => `${column.label}: ${column.words ? column.at(row) : column.at(row).toLocaleString("en-US", { maximumSignificantDigits: 10 })}`).join(" · ");
    }
  }

  document.querySelectorAll(".rows").forEach((place) => new Rows(place));

  // Tables that are whole in the document: a click on a column's head sorts them.
  document.querySelectorAll("table.plain th").forEach((head) => head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0], number = head.cellIndex;
    const falls = head.getAttribute("aria-sort") === "ascending";
    const text = (line) => line.cells[number].textContent;
    const compare = new Intl.Collator("en", { numeric: true }).compare;
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    body.append(...[...body.rows].sort((a, b) => (falls ? -1 : 1) * compare(text(a), text(b))));
  }));
})();
