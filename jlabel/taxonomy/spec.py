"""A taxonomy as a JSON object that people can read and edit, and back."""

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jlabel.taxonomy.checks import TaxonomyError, is_number
from jlabel.taxonomy.universal import Member, Taxonomy, assemble

__all__ = ["FORMAT", "nearest", "taxonomy_from_spec", "taxonomy_spec"]

FORMAT = "jlabel.taxonomy/1"


def taxonomy_spec(taxonomy: Taxonomy) -> dict[str, Any]:
    """A JSON object that says everything about a taxonomy: `json.dumps` it, edit it, read it back.

    Each universal class lists its members as ``{domain: {class: weight}}``. The order is that of the columns of a
    trained head, so edit in place and append at the end. ``name`` is there to read only.

    Args:
      taxonomy: the taxonomy.

    Returns:
      ``{"format": "jlabel.taxonomy/1", "domains": [{"name", "classes": [...]}], "universal_classes": [{"name",
      "members"}]}``, from which `taxonomy_from_spec` makes an equal taxonomy.

    Example:
      >>> taxonomy = assemble(("a", "b"), (("dog",), ("pug",)), [{(0, 0): 1.0, (1, 0): 1.0}])
      >>> taxonomy_spec(taxonomy)["universal_classes"]
      [{'name': 'a: dog + b: pug', 'members': {'a': {'dog': 1.0}, 'b': {'pug': 1.0}}}]
    """
    return {
        "format": FORMAT,
        "domains": [
            {"name": domain, "classes": list(names)}
            for domain, names in zip(taxonomy.domains, taxonomy.class_names, strict=True)
        ],
        "universal_classes": [
            {
                "name": name,
                "members": {
                    taxonomy.domains[a]: {taxonomy.class_names[a][i]: float(taxonomy.weights[a][i, u])}
                    for a, i in members
                },
            }
            for u, (name, members) in enumerate(zip(taxonomy.names, taxonomy.members, strict=True))
        ],
    }


def taxonomy_from_spec(spec: Mapping[str, Any]) -> Taxonomy:
    """Reads a taxonomy that `taxonomy_spec` wrote and a person may have edited.

    Args:
      spec: ``{"format": "jlabel.taxonomy/1", "domains": [{"name", "classes": [...]}], "universal_classes": [{"name"?,
        "members": {domain: {class: weight}}}]}``; weights above 0.

    Returns:
      The taxonomy; universal classes in the order of the object.

    Raises:
      TaxonomyError: listing every fault: fewer than two domains, names twice, an unknown domain or class, a weight that
        is not positive, an empty universal class, two with the same members, one that holds two classes of a domain, a
        class without a universal class.

    Example:
      >>> spec = {"format": "jlabel.taxonomy/1",
      ...     "domains": [{"name": "a", "classes": ["dog"]}, {"name": "b", "classes": ["pug", "cat"]}],
      ...     "universal_classes": [{"members": {"a": {"dog": 1}, "b": {"pug": 0.5}}}, {"members": {"b": {"cat": 1}}}]}
      >>> taxonomy_from_spec(spec).names
      ('a: dog + b: pug', 'b: cat')
    """
    faults = _shape_faults(spec)
    if faults:  # names below could not be looked up
        raise _error(faults)
    domains = tuple(domain["name"] for domain in spec["domains"])
    class_names = tuple(tuple(domain["classes"]) for domain in spec["domains"])
    faults = _name_faults(domains, class_names)
    entries = [
        _entries(f"universal_classes[{u}]", one["members"], domains, class_names, faults)
        for u, one in enumerate(spec["universal_classes"])
    ]
    members = [tuple(sorted(held)) for held in entries]
    first: dict[tuple[Member, ...], int] = {}
    for u, held in enumerate(members):
        if held and first.setdefault(held, u) != u:
            faults.append(f"universal_classes[{u}] has the members of universal_classes[{first[held]}]")
    placed = set(itertools.chain.from_iterable(members))
    faults += [
        f"class {name!r} of domain {domain!r} has no universal class"
        for a, (domain, names) in enumerate(zip(domains, class_names, strict=True))
        for i, name in enumerate(names)
        if (a, i) not in placed and name not in names[:i]
    ]
    if faults:
        raise _error(faults)
    return assemble(domains, class_names, entries)


def nearest(word: object, known: Iterable[str]) -> str:
    """A hint at the nearest spelling, for messages."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (nearest: {close[0]!r})" if close else ""


def _error(faults: Sequence[str]) -> TaxonomyError:
    return TaxonomyError("taxonomy: " + "; ".join(faults))


def _shape_faults(spec: Mapping[str, Any]) -> list[str]:
    """Faults of the JSON itself."""
    if not isinstance(spec, Mapping):
        return [f"it is a {type(spec).__name__}, not an object"]
    faults = []
    if spec.get("format") != FORMAT:
        faults.append(f"format is {spec.get('format')!r}, expected {FORMAT!r}")
    for field in ("domains", "universal_classes"):
        if not isinstance(spec.get(field), list):
            faults.append(f"{field!r} must be a list")
    if faults:
        return faults
    for a, domain in enumerate(spec["domains"]):
        names = domain.get("classes") if isinstance(domain, Mapping) else None
        named = isinstance(names, list) and all(isinstance(n, str) and n.strip() for n in [*names, domain.get("name")])
        if not named:
            faults.append(f"domains[{a}] needs a 'name' and a list 'classes' of names that are not empty")
    for u, one in enumerate(spec["universal_classes"]):
        members = one.get("members") if isinstance(one, Mapping) else None
        if not isinstance(members, Mapping) or not all(isinstance(held, Mapping) for held in members.values()):
            faults.append(f"universal_classes[{u}] needs 'members', an object {{domain: {{class: weight}}}}")
    return faults


def _name_faults(domains: Sequence[str], class_names: Sequence[Sequence[str]]) -> list[str]:
    faults = [] if len(domains) > 1 else [f"it has {len(domains)} domains, two or more are needed"]
    faults += [f"domain {name!r} stands twice" for a, name in enumerate(domains) if name in domains[:a]]
    for domain, names in zip(domains, class_names, strict=True):
        if not names:
            faults.append(f"domain {domain!r} has no classes")
        faults += [
            f"class {name!r} of domain {domain!r} stands twice" for i, name in enumerate(names) if name in names[:i]
        ]
    return faults


def _entries(
    place: str,
    members: Mapping[str, Mapping[str, Any]],
    domains: Sequence[str],
    class_names: Sequence[Sequence[str]],
    faults: list[str],
) -> dict[Member, float]:
    """Members of one universal class and their weights; adds its faults."""
    found: dict[Member, float] = {}
    if not any(members.values()):
        faults.append(f"{place} has no members")
    for domain, held in members.items():
        if domain not in domains:
            faults.append(f"{place}: unknown domain {domain!r}{nearest(domain, domains)}")
            continue
        if len(held) > 1:
            faults.append(f"{place} holds {len(held)} classes of domain {domain!r}: {', '.join(map(repr, held))}")
        a = domains.index(domain)
        for name, weight in held.items():
            if name not in class_names[a]:
                faults.append(f"{place}: unknown class {name!r} of domain {domain!r}{nearest(name, class_names[a])}")
                continue
            if not is_number(weight) or weight <= 0:
                faults.append(f"{place}: weight of {domain!r} {name!r} is {weight!r}, not a number above 0")
                weight = 1.0  # what follows is about places only
            found[a, class_names[a].index(name)] = float(weight)
    return found
