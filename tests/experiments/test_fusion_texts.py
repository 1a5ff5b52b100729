"""The table of test texts: which texts, their paths and truths, and that hostile texts stay text."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.fusion_texts import add_text_gallery, predicted_path, shortened
from jlabel.data import from_arrays
from jlabel.evaluation import Report
from jlabel.label_graph import build_graph, plan_paths
from tests.label_graph.toy import T

LABELS = ("mechanics", "optics", "algebra", "topology", "news")


def topics(labels=LABELS):
    """Physics above two labels, mathematics above two, and news right below the root."""
    parents = dict(zip(LABELS, ("physics", "physics", "maths", "maths", "science"), strict=True))
    inner = [n for n in ("physics", "maths") if n in [parents[label] for label in labels]]
    return plan_paths(build_graph({
        "format": "jlabel.label_graph/1", "name": "topics", "root": "science",
        "nodes": [{"id": n, "title": n.capitalize()} for n in ("science", *inner, *labels)],
        "edges": [*(["science", n] for n in inner), *([parents[label], label] for label in labels)],
        "label_sets": [{"name": "topics", "labels": {label: label for label in labels}}],
    }))  # fmt: skip


def study(texts, fine, decoded, *, nodes=None, sets=None, label_set="topics"):
    """What the table reads of data and predictions: probability .9 for what is decoded."""
    source = from_arrays({"text": texts, "label": fine}, label_names=LABELS)
    test = SimpleNamespace(source=source, fine=np.array(fine), fine_sets=sets)
    log_probs = np.log(np.where(np.arange(5) == np.array(decoded)[:, None], 0.9, 0.025))
    found = SimpleNamespace(decoded=np.array(decoded), log_probs=log_probs, nodes=nodes)
    return found, SimpleNamespace(test=test, fine_set=label_set)


def table(plan, found, data):
    report = Report("texts")
    add_text_gallery(report, found, data, plan)
    page = report.to_html()
    return page, [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in page.split("<tr>") if "</td>" in row]


def test_rows_by_hand():
    texts = [f"text {i}" for i in range(8)]
    found, data = study(texts, [0, 0, 1, 0, 2, 4, 0, 3], [0, 0, 1, 0, 2, 4, 0, -1])
    _, rows = table(topics(), found, data)
    # physics has five texts, of which three are shown, one of each label first; nothing is predicted for the last one
    assert {rows[0][1], rows[1][1]} == {"Physics &gt; Mechanics", "Physics &gt; Optics"}
    assert ["text 2", "Physics &gt; Optics", "0.90", "right", ""] in rows[:2]
    assert rows[2][1:] == ["Physics &gt; Mechanics", "0.90", "right", ""]
    assert len({row[0] for row in rows[:3]}) == 3
    assert rows[3:] == [
        ["text 4", "Maths &gt; Algebra", "0.90", "right", ""],
        ["text 5", "News", "0.90", "right", ""],
    ]


def test_rows_sorted_by_class_are_sampled_fairly():
    # 60 rows of each class in order, of which the first ten are taken for the next class: a sixth is wrong
    fine = np.repeat(np.arange(5), 60)
    decoded = np.where(np.arange(300) % 60 < 10, (fine + 1) % 5, fine)
    found, data = study([f"text {i}" for i in range(300)], fine, decoded)
    _, rows = table(topics(), found, data)
    assert len(rows) == 9
    assert sum(row[3] == "wrong" for row in rows) <= 4


def test_a_wrong_label_names_the_truth():
    found, data = study(["a b", "c d"], [3, 4], [1, 4])
    _, rows = table(topics(), found, data)
    assert rows == [
        ["a b", "Physics &gt; Optics", "0.90", "wrong", "Topology"],
        ["c d", "News", "0.90", "right", ""],
    ]


def test_any_of_several_labels_is_right():
    sets = np.zeros((2, 5), bool)
    sets[0, [0, 1]] = sets[1, [2, 3]] = True
    found, data = study(["a", "b"], [0, 2], [1, 0], sets=sets)
    _, rows = table(topics(), found, data)
    assert sorted([row[0], *row[3:]] for row in rows) == [["a", "right", ""], ["b", "wrong", "Algebra, Topology"]]


def test_hostile_texts_stay_text():
    texts = [
        '<script>alert("x")</script> <b>bold</b> &amp;', "line\x00one\r\n\x1b[31mred\u202etfel end",
        "$x^2$ </td></tr></table>", "\u202e\u200b",
    ]  # fmt: skip
    found, data = study(texts, [0, 1, 2, 4], [0, 1, 2, 4])
    page, rows = table(topics(), found, data)
    rows[:2] = sorted(rows[:2])
    assert rows[0][0] == "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &lt;b&gt;bold&lt;/b&gt; &amp;amp;"
    assert rows[1][0] == "line\ufffdone \ufffd[31mred\ufffdtfel end"
    assert rows[2][0] == "$x^2$ &lt;/td&gt;&lt;/tr&gt;&lt;/table&gt;"
    assert len(rows) == 4
    assert "<script" not in page.split("<body>")[1]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", page)
    page.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n\n b\tc ", "a b c"),
        ("x" * 160, "x" * 160),
        ("x" * 161, "x" * 159 + "…"),
        ("ab " * 80, ("ab " * 53) + "…"),
        ("", ""),
    ],
)
def test_shortened(text, expected):
    assert shortened(text) == expected.replace(" …", "…")
    assert len(shortened(text)) <= 160


def test_of_several_parents_the_likeliest_is_shown():
    graph = build_graph(T)
    node = {name: v for v, name in enumerate(graph.ids)}
    names = [graph.ids[v] for v in predicted_path(graph, node["british"], None)]
    assert names == ["cat", "short", "british"]
    passed = np.where(np.arange(12) == node["tabby"], -0.1, -3.0)
    names = [graph.ids[v] for v in predicted_path(graph, node["british"], passed)]
    assert names == ["cat", "tabby", "british"]
    assert predicted_path(graph, node["dog"], passed) == [node["dog"]]
    assert predicted_path(graph, graph.root, None) == [graph.root]


def test_at_most_eight_topics_spread_over_the_graph():
    names = [f"topic{i:02}" for i in range(15)]
    labels = [f"label{i:02}" for i in range(15)]
    plan = plan_paths(build_graph({
        "format": "jlabel.label_graph/1", "name": "many", "root": "all",
        "nodes": [{"id": n} for n in ("all", *names, *labels)],
        "edges": [*(["all", n] for n in names), *([n, label] for n, label in zip(names, labels, strict=True))],
        "label_sets": [{"name": "topics", "labels": {label: label for label in labels}}],
    }))  # fmt: skip
    source = from_arrays({"text": ["one", "two"] * 15, "label": list(range(15)) * 2}, label_names=labels)
    test = SimpleNamespace(source=source, fine=np.tile(np.arange(15), 2), fine_sets=None)
    found = SimpleNamespace(decoded=test.fine, log_probs=np.zeros((30, 15)), nodes=None)
    _, rows = table(plan, found, SimpleNamespace(test=test, fine_set="topics"))
    assert [row[1][:7] for row in rows[::2]] == [f"topic{i:02}" for i in range(0, 15, 2)]
    assert len(rows) == 16


def test_nothing_predicted_nothing_shown():
    found, data = study(["a"], [0], [-1])
    assert "<table" not in table(topics(), found, data)[0]
