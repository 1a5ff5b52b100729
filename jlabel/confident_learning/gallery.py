"""`gallery_html`: suspected rows on one self-contained page, to look through pair by pair of labels."""

import base64
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jlabel.confident_learning.gallery_page import GALLERY_STYLE, SCRIPT, TOOLS, gallery_page
from jlabel.data.images import check_picture, decode_image
from jlabel.errors import InputError
from jlabel.evaluation import Report
from jlabel.evaluation.page import escape

__all__ = ["GalleryItem", "gallery_html"]

THUMBNAIL = 128  # pixels of the longer side
MAX_TEXT = 4000  # characters shown of a text
MAX_FEATURES = 12
_SMALL = 64  # pixels; smaller pictures are shown pixel by pixel


@dataclass(frozen=True)
class GalleryItem:
    """One suspected row; of image, text and features give what there is.

    Attributes:
      name: the row's name, such as its file.
      given: the label it has.
      suggested: the label the model would give it.
      score: lower is worse.
      image: uint8 [H, W] or [H, W, 3], or an encoded picture (bytes).
      text: its text.
      features: feature name to number or text.
      note: a line below the labels, such as their probabilities.
      broken: why there is nothing to show, where the row could not be read.

    Example:
      >>> GalleryItem("a.png", "cat", "dog", -0.9).suggested
      'dog'
    """

    name: str
    given: str
    suggested: str
    score: float
    image: np.ndarray | bytes | None = None
    text: str | None = None
    features: Mapping[str, object] | None = None
    note: str = ""
    broken: str = ""


def gallery_html(
    items: Iterable[GalleryItem], *, title: str = "Suspected label errors", report: Report | None = None
) -> str:
    """One page of suspected rows: filter by pair of labels, search, sort, move by keyboard.

    Everything is inside the page, pictures as thumbnails of at most 128 pixels; it loads nothing and runs no script but
    its own, which a content security policy names by its hash. Whatever is given, markup too, is shown as text. Items
    are read once, so they may come from a generator that reads pictures one by one. Cards outside the window cost no
    layout: thousands are fine. Without scripts the page shows all cards, worst first.

    Args:
      items: in any order; the lowest scores come first, ties as given. A picture that cannot be decoded becomes a
        placeholder and is counted.
      title: headline.
      report: texts, tables and figures to show above the cards.

    Returns:
      A whole HTML document.

    Raises:
      InputError: a score that is NaN.

    Example:
      >>> page = gallery_html([GalleryItem("<b>.txt", "cat", "dog", -0.5, text="<script>alert(1)</script>")])
      >>> "&lt;script&gt;alert(1)&lt;/script&gt;" in page, "<b>.txt" in page
      (True, False)
    """
    cards: list[tuple[float, tuple[str, str], str]] = []
    broken = 0
    wide = False
    for place, item in enumerate(items):
        if math.isnan(item.score):
            raise InputError(f"items[{place}] ({item.name!r:.80}) has the score NaN; give a number")
        content, failed = _content(item)
        broken += failed
        wide |= item.text is not None
        cards.append((float(item.score), (item.given, item.suggested), f"{content}{_caption(item)}"))
    cards.sort(key=lambda card: card[0])
    counts = Counter(pair for _, pair, _ in cards)
    pairs = {pair: number for number, (pair, _) in enumerate(counts.most_common())}
    options = [f'<option value="">all pairs ({len(cards)})</option>']
    options += [
        f'<option value="{pairs[pair]}">{escape(pair[0])} → {escape(pair[1])} ({count})</option>'
        for pair, count in counts.most_common()
    ]
    noun = "row" if len(cards) == 1 else "rows"
    heading = f"{len(cards)} {noun} to look at" if report is not None else f"{len(cards)} {noun}"
    if broken:
        heading += f", {broken} of them broken"
    lines = [f'<h2 id="rows">{heading}</h2>', TOOLS.format(pairs="".join(options))]
    lines.append(f'<ol class="cards{" wide-cards" if wide else ""}" id="cards">')
    lines += [f'<li class="card" tabindex="-1" data-pair="{pairs[pair]}">{card}</li>' for _, pair, card in cards]
    lines += ["</ol>", f"<script>{SCRIPT}</script>"]
    above = [] if report is None else [f'<p><a href="#rows">{heading}</a></p>', report.body()]
    return gallery_page().format(title=escape(title), style=GALLERY_STYLE, body="\n".join(above + lines))


def _caption(item: GalleryItem) -> str:
    note = f"<small>{escape(item.note)}</small>" if item.note else ""
    return (
        f'<p class="labels"><s>{escape(item.given)}</s> → <b>{escape(item.suggested)}</b></p>'
        f"<small>{escape(item.name)}</small>{note}<small>score {item.score:.4g}</small>"
    )


def _content(item: GalleryItem) -> tuple[str, bool]:
    """The picture, text or features of a card, and whether a placeholder stands for it."""
    if item.broken:
        return _placeholder(item.broken), True
    parts = []
    if item.image is not None:
        try:
            picture = decode_image(item.image) if isinstance(item.image, bytes) else check_picture(item.image)
        except (InputError, OSError) as error:
            return _placeholder(str(error)), True
        parts.append(_picture(picture, item.name))
    if item.text is not None:
        cut = f" … ({len(item.text)} characters)" if len(item.text) > MAX_TEXT else ""
        parts.append(f'<div class="text" tabindex="-1">{escape(item.text[:MAX_TEXT])}{cut}</div>')
    if item.features is not None:
        parts.append(_table(item.features))
    return "".join(parts), False


def _placeholder(reason: str) -> str:
    return f'<p class="broken">cannot be shown: {escape(" ".join(reason.split())[:300])}</p>'


def _picture(picture: np.ndarray, name: str) -> str:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    small = max(image.size) <= _SMALL
    buffer = io.BytesIO()
    if small:
        image.save(buffer, format="PNG")
    else:
        image.save(buffer, format="JPEG", quality=85)
    kind, data = "png" if small else "jpeg", base64.b64encode(buffer.getvalue()).decode("ascii")
    marked = ' class="small"' if small else ""
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img{marked} src="data:image/{kind};base64,{data}" alt="{escape(name)}" {size} loading="lazy">'


def _table(features: Mapping[str, object]) -> str:
    def shown(value: object) -> str:
        if not isinstance(value, float | np.floating):
            return str(value)
        number = float(value)
        return f"{number:.0f}" if number.is_integer() and abs(number) < 1e9 else f"{number:.5g}"

    lines = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(shown(value))}</td></tr>'
        for name, value in list(features.items())[:MAX_FEATURES]
    ]
    more = len(features) - len(lines)
    below = f"<small>and {more} more</small>" if more else ""
    return f"<table><tbody>{''.join(lines)}</tbody></table>{below}"
