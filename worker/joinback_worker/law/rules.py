"""The rules of one application: how late feedback may come, which fields are its labels, and what holds for each field.

They stand in the file that JOINBACK_CONFIG names (`config.py` reads it). What is not declared works without rules.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .reduce import Reducer

CENTURY_S = 3_153_600_000
"""Longer is a mistake of the unit."""

Scalar = Literal["bool", "int", "float", "str"]
Seconds = Annotated[int, Meta(ge=1, le=CENTURY_S)]
Name = Annotated[str, Meta(min_length=1)]


class FieldRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is declared of one feedback field."""

    type: Scalar | Annotated[list[str], Meta(min_length=1)] | None = None
    """Of its values; a list names the categories, which are texts."""
    min: float | None = None
    max: float | None = None
    strict: bool = False
    """A value that breaks type, min or max makes its event a dead letter; else it is kept and counted."""
    reducer: Reducer = "last"
    """How the values of several events become one."""
    maturity_s: Seconds | None = None
    """When a prediction of which the field was not told yet counts as one of which it never is."""
    default: Any = UNSET
    """What the field says from then on."""
    positive: Any = UNSET
    """The value that counts as the positive outcome; of a number, `higher` or `lower`: which is the better one."""
    output: Name | None = None
    """The output that answers compare it with."""
    threshold: float | None = None
    """From which on that output, a probability, says `positive`."""
    sources: list[Name] = []
    """Who is believed, the best first: of the values told, only those of the best source count."""

    @property
    def categories(self) -> list[str] | None:
        return self.type if isinstance(self.type, list) else None

    @property
    def scalar(self) -> Scalar | None:
        """The JSON type of its values; categories are texts."""
        return "str" if isinstance(self.type, list) else self.type

    def rank(self, source: str | None) -> int:
        """Return the place of a source: the smaller the better, those that are not named last."""
        return self.sources.index(source) if source in self.sources else len(self.sources)


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is declared of one application."""

    join_window_s: Seconds = 180 * 86_400
    """How late feedback may come after its prediction."""
    sample_rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The share of predictions that clients log."""
    maturity_s: Seconds | None = None
    """Of the fields that name none of their own."""
    labels: list[Name] = []
    """The fields of which one makes a row `joined`; all of them, if none is named."""
    feedback: Mapping[str, FieldRules] = {}

    @cached_property
    def digest(self) -> str:
        """What tells the rules that rows are folded by from others, for a person: eight hex digits."""
        folded_by = (self.join_window_s, self.row_maturity_s, sorted(self.labels), list(plain_fields(self)))
        return blake2b(msgspec.json.encode(folded_by, order="deterministic"), digest_size=4).hexdigest()

    def maturity_of(self, field: str) -> int | None:
        """Return after how many seconds the field counts as not told; None: never."""
        rules = self.feedback.get(field)
        return self.maturity_s if rules is None or rules.maturity_s is None else rules.maturity_s

    @cached_property
    def row_maturity_s(self) -> int | None:
        """After how many seconds a row without a label is `unlabelled`: when the last of its labels is mature."""
        named = [self.maturity_of(name) for name in self.labels or self.feedback]
        known = [maturity for maturity in (named if self.labels else [*named, self.maturity_s]) if maturity is not None]
        return max(known, default=None)

    @cached_property
    def defaults(self) -> Mapping[str, int]:
        """The fields that get a value when they are mature, and after how many seconds that is."""
        found: dict[str, int] = {}
        for name, rules in sorted(self.feedback.items()):
            maturity = self.maturity_of(name)
            if rules.default is not UNSET and maturity is not None:
                found[name] = maturity
        return found

    @cached_property
    def typed(self) -> frozenset[str]:
        """The fields with a declared type."""
        return frozenset(name for name, rules in self.feedback.items() if rules.type is not None)

    @cached_property
    def strict(self) -> frozenset[str]:
        """The fields of which a value that breaks its type makes its event a dead letter."""
        return frozenset(name for name in self.typed if self.feedback[name].strict)

    @cached_property
    def mature(self) -> bool:
        """Whether the clock alone may change a row."""
        return self.row_maturity_s is not None or bool(self.defaults)


class Policy(Struct, frozen=True):
    """What the projection of a record depends on, besides the record: the rules, and the clock, as a bound."""

    rules: Rules = Rules()
    now: datetime | None = None
    """None: nothing matures."""


class PlainField(Struct, frozen=True):
    """The rules of a field that a view folds by, each a plain cell; None or empty where nothing is declared."""

    name: str
    reducer: str
    scalar: str | None
    sources: list[str]
    default: str | None
    """JSON; only where it ever comes into force."""
    maturity_s: int | None
    is_label: bool


def plain_fields(rules: Rules) -> Iterator[PlainField]:
    """Yield what the views of append stores need of each declared field, by name."""
    for name, field in sorted(rules.feedback.items()):
        default: Any | UnsetType = field.default if name in rules.defaults else UNSET
        yield PlainField(
            name=name,
            reducer=field.reducer,
            scalar=field.scalar,
            sources=field.sources,
            default=None if default is UNSET else msgspec.json.encode(default).decode(),
            maturity_s=rules.maturity_of(name),
            is_label=name in rules.labels,
        )
