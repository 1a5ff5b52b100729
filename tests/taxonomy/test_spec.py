import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jlabel.taxonomy import TaxonomyError, build_taxonomy, taxonomy_from_spec, taxonomy_spec
from tests.taxonomy.toy import random_relations, related

SPEC = {
    "format": "jlabel.taxonomy/1",
    "domains": [{"name": "a", "classes": ["dog", "car"]}, {"name": "b", "classes": ["pug", "boat"]}],
    "universal_classes": [
        {"name": "a: dog + b: pug", "members": {"a": {"dog": 0.8}, "b": {"pug": 0.8}}},
        {"name": "a: car", "members": {"a": {"car": 1.0}}},
        {"name": "b: boat", "members": {"b": {"boat": 1.0}}},
    ],
}


@given(st.integers(0, 2**32 - 1), st.sampled_from([(2, 2), (3, 1, 4)]))
@settings(max_examples=30, deadline=None)
def test_the_round_trip_is_exact(seed, sizes):
    taxonomy = build_taxonomy(random_relations(seed, sizes))
    again = taxonomy_from_spec(json.loads(json.dumps(taxonomy_spec(taxonomy))))
    assert (again.domains, again.class_names) == (taxonomy.domains, taxonomy.class_names)
    assert (again.members, again.names) == (taxonomy.members, taxonomy.names)
    for found, weights in zip(again.weights, taxonomy.weights, strict=True):
        np.testing.assert_array_equal(found, weights)


def test_what_is_written_can_be_read_by_people():
    taxonomy = build_taxonomy(related({("a0", "b0"): 0.8}, (2, 1)))
    assert taxonomy_spec(taxonomy)["universal_classes"] == [
        {"name": "a: 0 + b: 0", "members": {"a": {"0": 0.8}, "b": {"0": 0.8}}},
        {"name": "a: 1", "members": {"a": {"1": 1.0}}},
        {"name": "b: 0", "members": {"b": {"0": 1.0}}},
    ]


def test_an_edited_file_keeps_its_order_and_gets_new_names():
    spec = copy.deepcopy(SPEC)
    assert taxonomy_spec(taxonomy_from_spec(spec)) == SPEC
    spec["universal_classes"].reverse()
    spec["universal_classes"][1]["members"]["b"] = {"boat": 2}
    taxonomy = taxonomy_from_spec(spec)
    assert taxonomy.names == ("b: boat", "a: car + b: boat", "a: dog + b: pug")
    assert taxonomy.weights[1].tolist() == [[0, 0, 0.8], [1, 2, 0]]


def test_every_fault_is_listed():
    spec = copy.deepcopy(SPEC)
    spec["universal_classes"] = [
        {"members": {"a": {"dgo": 1.0, "dog": 0.5}, "c": {"x": 1}}},
        {"members": {"a": {"dog": -0.5}, "b": {"pug": True}}},
        {"members": {"b": {"pug": "0.5"}, "a": {"dog": float("nan")}}},
        {"members": {"a": {}}},
    ]
    with pytest.raises(TaxonomyError) as caught:
        taxonomy_from_spec(spec)
    message = str(caught.value)
    assert "\n" not in message
    for fault in (
        "universal_classes[0] holds 2 classes of domain 'a': 'dgo', 'dog'",
        "universal_classes[0]: unknown class 'dgo' of domain 'a' (nearest: 'dog')",
        "universal_classes[0]: unknown domain 'c'",
        "universal_classes[1]: weight of 'a' 'dog' is -0.5, not a number above 0",
        "universal_classes[1]: weight of 'b' 'pug' is True, not a number above 0",
        "universal_classes[2]: weight of 'b' 'pug' is '0.5', not a number above 0",
        "universal_classes[2]: weight of 'a' 'dog' is nan, not a number above 0",
        "universal_classes[2] has the members of universal_classes[1]",
        "universal_classes[3] has no members",
        "class 'car' of domain 'a' has no universal class",
        "class 'boat' of domain 'b' has no universal class",
    ):
        assert fault in message
    assert message.count(";") == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "jlabel.taxonomy/2"}, "format is 'jlabel.taxonomy/2', expected 'jlabel.taxonomy/1'"),
        ({"domains": {}, "universal_classes": None}, "'domains' must be a list; 'universal_classes' must be a list"),
        ({"domains": SPEC["domains"][:1], "universal_classes": []}, "it has 1 domains, two or more are needed"),
        ({"domains": [*SPEC["domains"], SPEC["domains"][0]]}, "domain 'a' stands twice"),
        ({"domains": [*SPEC["domains"], {"name": "c", "classes": []}]}, "domain 'c' has no classes"),
        ({"domains": [*SPEC["domains"], {"name": "c", "classes": ["x", "y", "x"]}]}, "class 'x' of domain 'c' stands"),
        ({"domains": [{"name": "a"}, *SPEC["domains"][1:]]}, r"domains\[0\] needs a 'name' and a list 'classes'"),
        ({"domains": [{"name": "a", "classes": ["x", 3]}]}, r"domains\[0\] needs a 'name' and a list 'classes'"),
        ({"domains": [{"name": " ", "classes": ["x"]}]}, r"domains\[0\] needs .* names that are not empty"),
        ({"universal_classes": [{"members": {3: {"x": 1}}}]}, r"universal_classes\[0\]: unknown domain 3;"),
        ({"universal_classes": [{"name": "x"}]}, r"universal_classes\[0\] needs 'members', an object"),
        ({"universal_classes": [{"members": {"a": "dog"}}]}, r"universal_classes\[0\] needs 'members', an object"),
    ],
)
def test_faults_of_the_object_itself(change, message):
    with pytest.raises(TaxonomyError, match=message):
        taxonomy_from_spec(SPEC | change)


def test_not_an_object():
    with pytest.raises(TaxonomyError, match="it is a list, not an object"):
        taxonomy_from_spec([SPEC])
