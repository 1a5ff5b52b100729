"""Rules: functions of a row, or of columns, whose answers are small whole numbers."""

import functools
import operator
import sys
from collections.abc import Callable, Iterable
from typing import Any, overload

from jlabel.data.row_chunks import MappingRow
from jlabel.errors import InputError


class RuleError(InputError):
    """A rule that cannot be applied: the message names the rule, the row and the reason."""


class Rule:
    """A named function of a row (or, `vectorized`, of columns) that votes for a class or abstains.

    Attributes:
        name: Name shown to people; unique among the rules applied together.
        function: The function itself.
        vectorized: Whether it takes the columns of many rows and returns their votes.
    """

    def __init__(self, name: str, function: Callable[[Any], Any], vectorized: bool = False):
        if not callable(function):
            raise RuleError(f"rule {name!r}: {function!r} is no function")
        named = function.func if isinstance(function, functools.partial) else function
        functools.update_wrapper(self, named)
        self.name, self.function, self.vectorized = str(name), function, bool(vectorized)

    def __call__(self, row: Any) -> Any:
        """The rule's answer for one row (`vectorized`: for columns); a mapping may be read by attributes too."""
        return self.function(MappingRow(row) if isinstance(row, dict) else row)

    def __repr__(self) -> str:
        return f"Rule({self.name!r}{', vectorized=True' if self.vectorized else ''})"

    def __reduce__(self) -> Any:
        # The decorator put this object where its function would be found, so the object is what pickle finds there.
        module, path = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "")
        try:
            if operator.attrgetter(path)(sys.modules[module]) is self:  # type: ignore[index]
                return path
        except (AttributeError, KeyError):
            pass
        return Rule, (self.name, self.function, self.vectorized)


@overload
def rule(name: Callable[[Any], Any], vectorized: bool = False) -> Rule: ...
@overload
def rule(name: str | None = None, vectorized: bool = False) -> Callable[[Callable[[Any], Any]], Rule]: ...
def rule(name: Any = None, vectorized: bool = False) -> Any:
    """Makes a function a `Rule`: `@rule`, `@rule()`, `@rule("name")` or `@rule(vectorized=True)`.

    A rule of a row returns a class `0, 1, ...` or abstains with -1 or None; True and False are 1 and 0. It reads
    `row.text` or `row["text"]`. A vectorised rule gets the columns of some rows, a DataFrame where the data are one,
    and returns a vector with a vote for each row. It must treat each row by itself: rows come in chunks of any size.

    A rule with resources is a partial function: `rule("greets")(functools.partial(has_word, words={"hi", "hello"}))`.

    Args:
        name: Name of the rule; by default that of the function.
        vectorized: Whether the function takes columns.

    Returns:
        A `Rule`, or the decorator that makes one.

    Raises:
        RuleError: What is decorated is no function.

    Example:
        >>> @rule
        ... def short(row):
        ...     return 1 if len(row.text) < 5 else -1
        >>> @rule("long", vectorized=True)
        ... def long_text(rows):
        ...     return np.where(rows.length > 9, 0, -1)
        >>> short, long_text, short({"text": "hi"})
        (Rule('short'), Rule('long', vectorized=True), 1)
    """
    if name is not None and not isinstance(name, str):
        return Rule(_name_of(name), name, vectorized)
    return lambda function: Rule(name or _name_of(function), function, vectorized)


def _name_of(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _name_of(function.func)
    # Other libraries' rules carry a name as well.
    return str(getattr(function, "name", None) or getattr(function, "__name__", None) or repr(function))


def check_rules(rules: Iterable[Rule | Callable[[Any], Any]]) -> tuple[Rule, ...]:
    """Returns the rules, plain functions of a row among them made rules; at least one, with different names.

    >>> check_rules([len, rule("upper")(str.isupper)])
    (Rule('len'), Rule('upper'))
    """
    if callable(rules) or isinstance(rules, str) or not isinstance(rules, Iterable):
        raise RuleError(f"rules must be a list of rules, got {rules!r}")
    checked = tuple(r if isinstance(r, Rule) else rule(r) for r in rules)
    if not checked:
        raise RuleError("rules is empty: give at least one rule")
    seen: dict[str, int] = {}
    for place, given in enumerate(checked):
        if given.name in seen:
            raise RuleError(
                f"rules {seen[given.name]} and {place} are both called {given.name!r}: rule('NAME')(f) names"
            )
        seen[given.name] = place
    return checked
