"""Style and script of the gallery: what `jlabel.evaluation.page` has, and cards that can be filtered and sorted."""

import base64
import hashlib

from jlabel.evaluation.page import PAGE, STYLE

GALLERY_STYLE = (
    STYLE
    + """
body { max-width: 76rem; }
a { color: var(--deterministic); }
.tools { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .5rem .8rem; align-items: end;
  padding: .6rem 0; background: var(--page); border-bottom: 1px solid var(--line); }
.tools label { display: flex; flex-direction: column; font-size: .8rem; color: var(--soft); }
.tools input, .tools select { font: inherit; font-size: .95rem; padding: .25rem .4rem; max-width: 22rem;
  height: 2.2rem; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 4px; }
.tools output { margin-left: auto; font-variant-numeric: tabular-nums; }
.keys { max-width: none; white-space: normal; }
kbd { padding: 0 .3rem; border: 1px solid var(--line); border-radius: 3px; background: var(--card); font-size: .85em; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .8rem; padding: 0;
  margin: 1rem 0; list-style: none; }
.cards.wide-cards { grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.card { display: flex; flex-direction: column; gap: .35rem; padding: .6rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 6px; content-visibility: auto; contain-intrinsic-size: auto 15rem;
  scroll-margin: 6rem 0 1rem; }
.card[hidden] { display: none; }
.card:focus { outline: 3px solid var(--deterministic); outline-offset: 1px; }
.card img { align-self: center; width: 100%; max-width: 9rem; height: auto; border-radius: 4px; }
.card img.small { image-rendering: pixelated; }
.card .text { margin: 0; max-height: 14rem; overflow-y: auto; white-space: pre-wrap; font-size: .88rem; }
.card .broken { margin: 0; padding: 1.2rem .5rem; border: 2px dashed var(--line); border-radius: 4px;
  color: var(--soft); font-size: .85rem; text-align: center; }
.card table { margin: 0; font-size: .8rem; }
.card th, .card td { min-width: 0; padding: .1rem .6rem .1rem 0; }
.card th:first-child { min-width: 0; font-weight: 500; color: var(--soft); }
.card .labels { margin: 0; font-size: .95rem; line-height: 1.35; white-space: normal; }
.card .labels s { color: var(--wrong); }
.card .labels b { color: var(--nondeterministic); }
.card small { color: var(--soft); font-size: .78rem; line-height: 1.35; }
@media print { .tools { display: none; } .card { break-inside: avoid; content-visibility: visible; } }
"""
)

TOOLS = """<div class="tools" role="search">
<label>labels<select id="pair">{pairs}</select></label>
<label>search<input id="search" type="search" autocomplete="off" spellcheck="false" placeholder="name, label or text">
</label>
<label>order<select id="order"><option value="worst">worst first</option><option value="best">best first</option>
<option value="pair">by labels</option><option value="name">by name</option></select></label>
<output id="shown"></output></div>
<p class="keys"><kbd>j</kbd> <kbd>k</kbd> or arrow keys: next and previous card; <kbd>n</kbd> <kbd>b</kbd>: next and
previous pair of labels; <kbd>/</kbd>: search; <kbd>Esc</kbd>: everything again.</p>"""

# Reads text and attributes and writes only `hidden`, order and focus: nothing given ever becomes markup.
SCRIPT = """
"use strict";
(() => {
  const list = document.getElementById("cards"), cards = Array.from(list.children);
  const pair = document.getElementById("pair"), search = document.getElementById("search");
  const order = document.getElementById("order"), shown = document.getElementById("shown");
  const texts = new Map();
  const words = card => {
    if (!texts.has(card)) texts.set(card, card.textContent.toLowerCase());
    return texts.get(card);
  };
  let visible = cards;
  const show = () => {
    const wanted = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    visible = Array.from(list.children).filter(card => {
      const found = (pair.value === "" || card.dataset.pair === pair.value)
        && wanted.every(word => words(card).includes(word));
      card.hidden = !found;
      return found;
    });
    shown.textContent = visible.length + " of " + cards.length + " shown";
  };
  const place = new Map(cards.map((card, i) => [card, i]));
  const pairs = new Map(Array.from(pair.options).map((option, i) => [option.value, i]));
  const name = card => card.querySelector("small").textContent;
  const keys = {
    worst: (a, b) => place.get(a) - place.get(b),
    best: (a, b) => place.get(b) - place.get(a),
    pair: (a, b) => pairs.get(a.dataset.pair) - pairs.get(b.dataset.pair) || place.get(a) - place.get(b),
    name: (a, b) => name(a).localeCompare(name(b), undefined, {numeric: true}) || place.get(a) - place.get(b),
  };
  const sort = () => { list.append(...cards.slice().sort(keys[order.value])); show(); };
  const turn = step => {
    pair.selectedIndex = (pair.selectedIndex + step + pair.options.length) % pair.options.length;
    show();
  };
  const move = step => {
    const here = visible.indexOf(document.activeElement);
    const next = visible[here < 0 ? 0 : Math.min(visible.length - 1, Math.max(0, here + step))];
    if (next) next.focus();
  };
  pair.addEventListener("change", show);
  search.addEventListener("input", show);
  order.addEventListener("change", sort);
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      search.value = ""; pair.value = ""; document.activeElement.blur(); show();
      return;
    }
    if (/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) return;
    const acts = {
      j: () => move(1), ArrowRight: () => move(1), k: () => move(-1), ArrowLeft: () => move(-1),
      n: () => turn(1), b: () => turn(-1), "/": () => search.focus(),
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
  show();
})();
"""


def gallery_page() -> str:
    """The page of the report with one script allowed: this one, by its hash; text that became markup would not run."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    before = "style-src 'unsafe-inline'"
    return PAGE.replace(before, f"{before}; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'")
