"""The report is one file that needs nothing else, and shows hostile text as text."""

import base64
import io
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jlabel import InputError
from jlabel.evaluation import Report, make_row, save_figure

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</title></style><!-- ]]> &lt;b&gt; &amp;",
    "{title} {0} %s \\",
    "nul\x00 bell\x07 turned \u202egnp.exe",
    os.fsdecode(b"broken \xff name.png"),
    "https://example.org/x.js",
]


class Page(HTMLParser):
    """Collects tags with their attributes, and the visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def picture() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return figure


def test_the_body_stands_between_headline_and_end():
    report = full_report("plain")
    assert report.body().startswith("<h2>plain</h2>")
    before, after = report.to_html().split(report.body())
    assert before.endswith("<h1>plain</h1>\n")
    assert after.startswith("\n</body>")


def full_report(text: str) -> Report:
    report = Report(text)
    report.add_text(text, heading=text)
    report.add_table([text, "b"], [[text, 1], ["0.5", None]], caption=text)
    report.add_results([make_row(text, text, [0.5, 0.6])], paper={(text, text): 0.7}, caption=text)
    report.add_figure(picture(), caption=text, alt=text)
    report.add_gallery(
        np.zeros((2, 4, 4, 3), np.uint8), [text, "plain"], borders=["wrong", "deterministic"], caption=text
    )
    report.add_details({text: text, "nested": {"deep": [text]}}, title=text)
    return report


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text(text, tmp_path):
    path = full_report(text).write(tmp_path / "report.html")
    page, plain = Page(path.read_text(encoding="utf-8")), Page(full_report("plain").to_html())
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    for (tag, found), (_, expected) in zip(page.tags, plain.tags, strict=True):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            if name != "alt":
                assert value == expected[name], (tag, name)
    shown = re.sub("[\x00\x07\u202e]", "\ufffd", text).encode("utf-8", "backslashreplace").decode()
    assert " ".join(shown.split()) in " ".join("".join(page.text).split())


def test_nothing_outside_the_file_and_no_script():
    page = Page(full_report("plain").to_html())
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "a", "form", "base"}
        assert not any(name.startswith("on") or name in {"href", "srcset", "action"} for name in attributes)
        if "src" in attributes:
            assert attributes["src"].startswith("data:image/png;base64,")
    markup = full_report("plain").to_html()
    assert "://" not in markup
    assert "url(" not in markup
    assert "@import" not in markup
    assert "default-src 'none'" in markup


def test_pictures_are_whole_and_true():
    report = Report("t")
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    report.add_gallery([image], ["x"])
    report.add_figure(picture(), caption="c", alt="a rising line")
    sources = [a for tag, a in Page(report.to_html()).tags if tag == "img"]
    first, second = (Image.open(io.BytesIO(base64.b64decode(a["src"].split(",")[1]))) for a in sources)
    np.testing.assert_array_equal(np.asarray(first), image)
    assert second.size == (360, 180)
    assert sources[1]["alt"] == "a rising line"
    assert (sources[1]["width"], sources[1]["height"]) == ("200", "100")


def test_borders_and_their_legend():
    report = Report("t")
    report.add_gallery(np.zeros((2, 4, 4, 3), np.uint8), ["a", "b"], borders=["nondeterministic", "wrong"])
    page = Page(report.to_html())
    assert [a["class"] for tag, a in page.tags if tag == "li"] == ["nondeterministic small", "wrong small"]
    assert "✗ b" in page.text
    assert "deterministic" not in page.text


def test_paragraphs_and_tables():
    report = Report("t")
    report.add_text("one\n\ntwo\nlines\n\n\n")
    report.add_table(["a"], [["1.0 ± 0.1 [0.9, 1.1]"], ["words"]])
    markup = report.to_html()
    assert "<p>one</p>" in markup
    assert "<p>two\nlines</p>" in markup
    assert '<td class="number">1.0 ± 0.1<br><small>[0.9, 1.1]</small></td>' in markup
    assert "<td>words</td>" in markup


def test_the_same_report_has_the_same_bytes():
    assert full_report("x").to_html() == full_report("x").to_html()


def test_writing_replaces_in_one_step(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    Report("first").write(target)

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", broken)
        with pytest.raises(InputError, match=r"cannot write .*report.html: Input/output error"):
            Report("second").write(target)
    assert "first" in target.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    Report("third").write(target)
    assert "third" in target.read_text()


def test_save_figure_makes_folders_and_keeps_odd_glyphs(tmp_path):
    figure = Figure()
    figure.suptitle("\u732b")  # no glyph in the font: a box, not a failure
    path = save_figure(tmp_path / "figures" / "cat.png", figure)
    with Image.open(path) as image:
        assert image.format == "PNG"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.add_table(["a", "b"], [[1, 2], [1]]), "rows[1] has 1 cells, the header 2"),
        (lambda r: r.add_details([1, 2]), "details must be a mapping or a dataclass, got list"),
        (lambda r: r.add_results([]), "rows is empty"),
        (lambda r: r.add_gallery(np.zeros((1, 2, 2), np.uint8), ["x"]), "images[0] must be uint8 [H, W, 3]"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError) as caught:
        call(Report("t"))
    assert str(caught.value).startswith(message)
