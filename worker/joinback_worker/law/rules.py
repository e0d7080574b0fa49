"""The rules of one application: how late feedback may come, which fields are its labels, and what holds for each field.

They stand in the file that JOINBACK_CONFIG names; `config/rules_file.py` reads it. An application or field that is not
declared there works too, with the defaults below.
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
"""The longest duration that may be declared: a longer one is a mistake of the unit, such as milliseconds."""

Scalar = Literal["bool", "int", "float", "str"]
Seconds = Annotated[int, Meta(ge=1, le=CENTURY_S)]
Name = Annotated[str, Meta(min_length=1)]


class FieldRules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is declared of one feedback field."""

    type: Scalar | Annotated[list[str], Meta(min_length=1)] | None = None
    """The type of its values. A list names the categories, which are texts."""
    min: float | None = None
    max: float | None = None
    strict: bool = False
    """True: a value that breaks type, min or max makes its event a dead letter. False: it is kept and counted."""
    reducer: Reducer = "last"
    """How the values of several events become one."""
    maturity_s: Seconds | None = None
    """So many seconds after the prediction, a field without a value counts as one that never gets any."""
    default: Any = UNSET
    """The value that the field has from then on."""
    positive: Any = UNSET
    """The value that is the positive outcome. For a number `higher` or `lower`: which one is better."""
    output: Name | None = None
    """The output that `joinback report` compares the field with."""
    threshold: float | None = None
    """That output is a score, and predicts `positive` if it is at least this."""
    sources: list[Name] = []
    """The sources of feedback, the most trusted first. Only the values of the best source that gave one count."""

    @property
    def categories(self) -> list[str] | None:
        """The texts that are its values; None if it has no categories."""
        return self.type if isinstance(self.type, list) else None

    @property
    def scalar(self) -> Scalar | None:
        """The JSON type of its values; categories are texts."""
        return "str" if isinstance(self.type, list) else self.type

    def rank(self, source: str | None) -> int:
        """Return the place of a source from 0, the most trusted; sources that are not named share the last place."""
        return self.sources.index(source) if source in self.sources else len(self.sources)


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is declared of one application."""

    join_window_s: Seconds = 180 * 86_400
    """How long after its prediction feedback may come. Half a year by default."""
    sample_rate: Annotated[float, Meta(gt=0, le=1)] | None = None
    """The share of predictions that clients log. Clients read it from the same file; workers do not."""
    maturity_s: Seconds | None = None
    """The maturity of fields that declare none of their own."""
    labels: list[Name] = []
    """A value of any of these fields makes a row `joined`. If none is named, a value of any field does."""
    feedback: Mapping[str, FieldRules] = {}

    @cached_property
    def digest(self) -> str:
        """Eight hex digits that differ if rows would be folded differently, for a person to compare."""
        folded_by = (self.join_window_s, self.row_maturity_s, sorted(self.labels), list(plain_fields(self)))
        return blake2b(msgspec.json.encode(folded_by, order="deterministic"), digest_size=4).hexdigest()

    def maturity_of(self, field: str) -> int | None:
        """Return after how many seconds the field counts as one that never gets a value; None: it never does."""
        rules = self.feedback.get(field)
        return self.maturity_s if rules is None or rules.maturity_s is None else rules.maturity_s

    @cached_property
    def row_maturity_s(self) -> int | None:
        """After how many seconds a row without a label is `unlabelled`: the longest maturity of its labels.

        None: never. If no labels are named, every declared field is one, and so is any other field, by the
        application's maturity.
        """
        named = [self.maturity_of(name) for name in self.labels or self.feedback]
        known = [maturity for maturity in (named if self.labels else [*named, self.maturity_s]) if maturity is not None]
        return max(known, default=None)

    @cached_property
    def defaults(self) -> Mapping[str, int]:
        """The fields that get their default, and after how many seconds."""
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
        """The fields with a declared type whose bad values make their event a dead letter."""
        return frozenset(name for name in self.typed if self.feedback[name].strict)

    @cached_property
    def mature(self) -> bool:
        """Whether the clock alone may change a row."""
        return self.row_maturity_s is not None or bool(self.defaults)


class Policy(Struct, frozen=True):
    """What a row depends on besides its record: the rules, and the time."""

    rules: Rules = Rules()
    now: datetime | None = None
    """The time by Redis's clock, at which maturities are judged. None: nothing matures."""


class PlainField(Struct, frozen=True):
    """The rules of one field as cells of a table, for the views. None or empty: not declared."""

    name: str
    reducer: str
    scalar: str | None
    sources: list[str]
    default: str | None
    """The default as JSON; None also if the field has no maturity, as the default never takes effect then."""
    maturity_s: int | None
    is_label: bool


def plain_fields(rules: Rules) -> Iterator[PlainField]:
    """Yield what the views of append stores need of each declared field, sorted by name."""
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
