"""The gallery is one page that needs nothing else and shows hostile text as text."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jlabel import InputError
from jlabel.confident_learning import GalleryItem, gallery_html
from jlabel.evaluation import Report

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</li></ol><img src=x onerror=alert(1)>",
    "\"><img src=x onerror='alert(1)'>",
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "</title></style><!-- ]]> &lt;b&gt; &amp;",
    "{title} {0} %s \\",
    "nul\x00 turned \u202egnp.exe",
    "half \ud800 of a pair",
    "https://example.org/x.js",
]


class Page(HTMLParser):
    """Collects tags with their attributes, the visible text, and the text of scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts.append(data)
        elif not self._inside:
            self.text.append(data)

    def cards(self) -> list[dict]:
        return [attrs for tag, attrs in self.tags if attrs.get("class") == "card" and tag == "li"]


def item(place: int = 0, **changes) -> GalleryItem:
    fields = {"name": f"row {place}", "given": "cat", "suggested": "dog", "score": -place / 10, "text": f"text {place}"}
    return GalleryItem(**{**fields, **changes})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text):
    """Check 14: shown, not run; in the content, the labels, the file name, the note, the reason and the title."""
    picture = np.zeros((4, 4, 3), np.uint8)
    plain = Page(gallery_html([item(text="a", features={"a": "b"}), item(image=picture), item(broken="c")], title="d"))
    page = Page(
        gallery_html(
            [
                item(name=text, given=text, suggested=text, text=text, features={text: text}, note=text),
                item(name=text, image=picture),
                item(broken=text),
            ],
            title=text,
        )
    )
    shape = [(tag, sorted(attrs)) for tag, attrs in page.tags if tag not in ("option", "small")]
    assert shape == [(tag, sorted(attrs)) for tag, attrs in plain.tags if tag not in ("option", "small")]
    assert page.scripts == plain.scripts
    assert len(page.scripts) == 1
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
        assert "href" not in attrs
        assert tag != "img" or attrs["src"].startswith("data:image/")
    shown = text.replace("\x00", "\ufffd").replace("\u202e", "\ufffd").encode("utf-8", "backslashreplace").decode()
    assert "".join(page.text).count(shown) >= 8


def test_a_script_in_a_text_row_is_shown_and_not_run():
    html = gallery_html([item(text="<script>alert('x')</script>")])
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    (script,) = Page(html).scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy  # the page's own script and no other may run
    assert "default-src 'none'" in policy
    assert "unsafe-inline'; script" in policy
    assert "http" not in policy


def test_worst_first_and_pairs_by_count():
    items = [item(1), item(3), item(2, given="dog", suggested="fox"), item(5)]
    page = Page(gallery_html(items))
    assert [part for part in page.text if part.startswith("row ")] == ["row 5", "row 3", "row 2", "row 1"]
    assert [card["data-pair"] for card in page.cards()] == ["0", "0", "1", "0"]
    options = [part for part in page.text if "(" in part and ")" in part][:3]
    assert options == ["all pairs (4)", "cat → dog (3)", "dog → fox (1)"]


def test_pictures_become_thumbnails_of_bounded_size():
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    page = Page(gallery_html([item(image=noise, text=None), item(image=noise[:28, :28, 0], text=None)]))
    large, small = [attrs for tag, attrs in page.tags if tag == "img"]
    assert (large["width"], large["height"]) == ("128", "96")
    assert len(large["src"]) < 30_000
    assert (small["width"], small["height"], small["class"]) == ("28", "28", "small")
    kind, data = small["src"].split(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as shown:
        np.testing.assert_array_equal(np.asarray(shown)[..., 0], noise[:28, :28, 0])


def test_encoded_and_broken_pictures():
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(file, "PNG")
    rows = [
        item(image=file.getvalue()),
        item(image=b"no picture", name="bad.jpg"),
        item(image=file.getvalue()[:40]),
        item(image=np.zeros((2, 2), np.float32)),
        item(broken="no such file"),
    ]
    page = Page(gallery_html(rows))
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert "5 rows, 4 of them broken" in page.text
    shown = "".join(page.text)
    assert shown.count("cannot be shown") == 4
    assert "no such file" in shown
    assert "bad.jpg" in shown


def test_whole_numbers_stand_as_such():
    page = gallery_html([item(features={"a": np.float32(287271), "b": np.float32(0.1), "c": 1e12, "d": 3})])
    assert [part.partition("</td>")[0] for part in page.split("<td>")[1:]] == ["287271", "0.1", "1e+12", "3"]


def test_a_report_above_leads_to_the_cards():
    report = Report("t")
    report.add_text("first")
    page = gallery_html([item(text="a")], report=report)
    assert page.index('<a href="#rows">1 row to look at</a>') < page.index("<p>first</p>")
    assert page.index("<p>first</p>") < page.index('<h2 id="rows">')


def test_features_and_long_texts_are_cut():
    page = gallery_html([item(text="ab" * 3000, features={f"f{i}": i / 3 for i in range(20)})])
    assert "ab" * 2000 in page
    assert "ab" * 2001 not in page
    assert "(6000 characters)" in page
    assert "<td>3.6667</td>" in page  # f11
    assert ">f12<" not in page
    assert "and 8 more" in page


def test_a_report_stands_above_the_cards():
    report = Report("Summary")
    report.add_text("Many labels are wrong.", heading="Found <b>")
    page = gallery_html([item()], title="Toys", report=report)
    assert page.index("Many labels are wrong.") < page.index('id="cards"')
    assert page.count("<h1>") == page.count("<body>") == page.count("</body>") == page.count("<style>") == 1
    assert "<h1>Toys</h1>" in page
    assert "Found &lt;b&gt;" in page


def test_nothing_to_show_and_bad_scores():
    page = Page(gallery_html([]))
    assert "0 rows" in page.text
    assert not page.cards()
    with pytest.raises(InputError, match=r"items\[1\] \('b'\) has the score NaN"):
        gallery_html([item(), item(name="b", score=float("nan"))])


def test_reads_items_once():
    """Pictures come one by one from a generator."""
    assert len(Page(gallery_html(item(i) for i in range(3))).cards()) == 3
