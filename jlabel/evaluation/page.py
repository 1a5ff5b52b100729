"""The frame of the report: one HTML page with its style inside, no script, no outside address."""

import html
import re

__all__ = ["PAGE", "STYLE", "escape"]

# Characters that do not show, or that turn the direction of what follows.
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --page: #ffffff; --card: #f6f8fa; --line: #d0d7de;
  --deterministic: #0072b2; --nondeterministic: #009e73; --wrong: #d55e00; --none: #8a8f98; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --page: #14181d; --card: #1d232a;
  --line: #363e48; --deterministic: #3f9fdc; --nondeterministic: #1fbf8f; --wrong: #ff7f32; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 56rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
p { margin: .6rem 0; max-width: 44rem; white-space: pre-line; }
figure { margin: 1.4rem 0; }
figcaption, caption { color: var(--soft); font-size: .92rem; text-align: left; margin-top: .4rem; }
caption { padding-bottom: .4rem; max-width: min(54rem, calc(100vw - 2rem)); }
.wide { overflow-x: auto; }
.chart { background: #ffffff; border: 1px solid var(--line); border-radius: 6px; padding: .5rem; overflow-x: auto; }
.chart img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.chart img.large { max-width: none; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem .35rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  overflow-wrap: normal; min-width: 4.5rem; }
th:first-child, td:first-child { min-width: 8.5rem; }
td.number { white-space: nowrap; }
td small { color: var(--soft); }
thead th { border-bottom: 2px solid var(--line); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: .9rem; padding: 0;
  margin: 0; list-style: none; }
.gallery img { display: block; width: 100%; height: auto; border: 5px solid var(--none); border-radius: 4px; }
.gallery .deterministic img { border-color: var(--deterministic); }
.gallery .nondeterministic img { border-color: var(--nondeterministic); border-style: dashed; }
.gallery .wrong img { border-color: var(--wrong); }
.gallery .small img { image-rendering: pixelated; }
.gallery span { display: block; font-size: .82rem; line-height: 1.35; margin-top: .3rem; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .85rem; color: var(--soft); margin-top: .7rem; }
.legend i { display: inline-block; width: 1.6rem; height: 0; border-top: 4px solid; vertical-align: middle;
  margin-right: .4rem; }
details { margin: 1rem 0; padding: .6rem .9rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; }
summary { cursor: pointer; font-weight: 600; }
details th { font-weight: 500; color: var(--soft); }
details td { overflow-wrap: anywhere; }
@media (max-width: 40rem) { .chart img { max-width: none; } th, td { padding-right: .5rem; min-width: 3rem; }
  th:first-child, td:first-child { min-width: 6rem; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --page: #fff; --card: #fff; --line: #999; }
  body { max-width: none; padding: 0; font-size: 11pt; } figure, tr, .gallery li { break-inside: avoid; }
  h2 { break-after: avoid; } .chart img.large { max-width: 100%; } .wide, .chart { overflow: visible; } }
"""

# The policy is a second lock: text is escaped, and even if it were not, nothing could load or run.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def escape(text: object) -> str:
    """Text for element content and quoted attributes; broken and invisible characters become visible.

    >>> escape('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    plain = _HIDDEN.sub("\ufffd", str(text))
    return html.escape(plain.encode("utf-8", "backslashreplace").decode(), quote=True)
