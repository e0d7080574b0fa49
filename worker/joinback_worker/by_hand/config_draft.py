"""Draft a first file of rules from the rows that a sink holds: fields and types are filled in, the rest is to choose.

The draft shows how often values occur. It shows texts only if they are surely categories, as others may be private.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate

import msgspec
from msgspec import Raw, Struct

from joinback.config_file import APPLICATIONS
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.law.declared import trouble_with
from joinback_worker.law.record import Record, effective_at
from joinback_worker.law.rules import FieldRules, Policy, Rules, Scalar
from joinback_worker.law.verdict import judge
from joinback_worker.notes.fields_seen import FIELDS_MAX
from joinback_worker.sinks import Sink, open_sink, shown
from joinback_worker.sinks.lookups import KEYS_OF_FILES, whole

ROWS = 100_000
"""How many labelled rows are read by default: in 8 s from SQLite, in 20 s from a directory (measured). What one row in
10,000 has is seen ten times."""
CATEGORIES_MAX = 12
"""The most categories of a field: nobody reviews a longer list."""
VALUES_PER_CATEGORY_MIN = 10
"""How often each text must occur, on average, to be a category. Rarer texts may be remarks with a name in them."""
CATEGORY_CHARACTERS_MAX = 40
"""The longest text of a category: a longer one is prose."""
_STEPS_PER_E = 50
"""Delays are counted in steps of 2 % (this many per factor e), so a thousand counters hold any number of delays."""
_SHARE = 0.95
"""The share of values whose delays the draft reports."""
_SCALARS: tuple[Scalar, ...] = ("bool", "int", "float", "str")
_KINDS: dict[type, Scalar] = {bool: "bool", int: "int", float: "float", str: "str"}


class Seen(Struct):
    """The values of one feedback field that were seen, as counts."""

    kinds: Counter[str] = msgspec.field(default_factory=Counter)
    """JSON type -> how many values."""
    misfits: Counter[str] = msgspec.field(default_factory=Counter)
    """Declared type -> how many values it does not take."""
    values: Counter[str] = msgspec.field(default_factory=Counter)
    """Boolean or text, as JSON -> how many values; empty if there are many (`has_many`)."""
    has_many: bool = False
    """True if there are too many texts, or too long ones, for categories."""
    delays: Counter[int] = msgspec.field(default_factory=Counter)
    """Step -> in how many rows the field's first value came so long after the prediction."""

    def add(self, value: Raw) -> None:
        """Count a value that counts."""
        decoded = msgspec.json.decode(value)
        if decoded is None:
            self.kinds["null"] += 1
            return
        self.kinds[_KINDS.get(type(decoded), "array or object")] += 1
        for scalar in _SCALARS:
            self.misfits[scalar] += trouble_with(FieldRules(type=scalar), value) is not None
        if isinstance(decoded, bool | str) and not self.has_many:
            self.values[bytes(value).decode()] += 1
            is_long = isinstance(decoded, str) and len(decoded) > CATEGORY_CHARACTERS_MAX
            if is_long or len(self.values) > CATEGORIES_MAX:
                self.has_many = True
                self.values.clear()

    def add_delay(self, seconds: float) -> None:
        """Count a delay from the prediction to the field's first value in a row."""
        self.delays[round(_STEPS_PER_E * math.log(max(seconds, 1)))] += 1

    @property
    def number(self) -> int:
        """How many values it has, without null."""
        return self.kinds.total() - self.kinds["null"]

    @property
    def type(self) -> Scalar | list[str] | None:
        """The type that all values have, or can get without loss; None if there is none."""
        by_number = sorted(_SCALARS, key=lambda scalar: -self.kinds[scalar])
        # An integer is a float too, so with both kinds the type is `float`.
        whole_numbers = not (self.kinds["int"] and self.kinds["float"])
        fitting = [s for s in by_number if self.kinds[s] and not self.misfits[s] and (s != "int" or whole_numbers)]
        if not self.number or not fitting:
            return None
        is_text = self.kinds["str"] == self.number
        if is_text and not self.has_many and self.number >= VALUES_PER_CATEGORY_MIN * len(self.values):
            return sorted(msgspec.json.decode(value) for value in self.values)
        return fitting[0]

    @property
    def delay_s(self) -> int | None:
        """Within how many seconds of the prediction 95 % of the first values came; None without predictions."""
        steps = sorted(self.delays)
        for step, count in zip(steps, accumulate(self.delays[step] for step in steps), strict=True):
            if count >= _SHARE * self.delays.total():
                return math.ceil(math.exp(step / _STEPS_PER_E))
        return None


def draft(settings: Settings, application: str, rows: int) -> str:
    """Return the draft as TOML, from at most `rows` labelled rows.

    Raises JoinbackError if the sink holds no feedback of the application, and what sinks raise.
    """
    policy = Policy(Rules(join_window_s=settings.join_window_s))
    number, is_all, fields = asyncio.run(_look(settings, application, rows, policy))
    if not fields:
        raise JoinbackError(
            f"{shown(settings.sink_url)} holds no feedback of {application!r} yet; first: joinback drain"
        )
    return "\n".join([*_head(settings, application, number, is_all), *_fields(application, fields)]) + "\n"


async def _look(settings: Settings, application: str, rows: int, policy: Policy) -> tuple[int, bool, dict[str, Seen]]:
    """Return how many labelled rows were read, whether those are all, and what was seen of each field."""
    fields: dict[str, Seen] = {}
    async with open_sink(settings.sink_url, policy, read_only=True) as sink:
        keys, is_all = await _labelled(sink, application, rows)
        for first in range(0, len(keys), KEYS_OF_FILES):
            async for records in whole(sink, application, keys[first : first + KEYS_OF_FILES]):
                for record in records:
                    _add(fields, record, policy)
    return len(keys), is_all, fields


async def _labelled(sink: Sink, application: str, rows: int) -> tuple[list[str], bool]:
    keys: dict[str, None] = {}
    async for records in sink.records(application):
        for record in records:
            if record.feedback:
                if len(keys) >= rows and record.join_key not in keys:
                    return list(keys), False
                keys[record.join_key] = None
    return list(keys), True


def _add(fields: dict[str, Seen], record: Record, policy: Policy) -> None:
    verdict = judge(record, policy)
    for name, valid in verdict.valid.items():
        if name not in fields and len(fields) >= FIELDS_MAX:
            continue
        seen = fields.setdefault(name, Seen())
        for one in valid:
            seen.add(one.value)
        if verdict.winner is not None:
            seen.add_delay((valid[0].at - effective_at(verdict.winner)).total_seconds())


def _head(settings: Settings, application: str, number: int, is_all: bool) -> list[str]:
    extent = "all that there are" if is_all else "there are more"
    return [
        f"# Rules of {_plain(application)}, drafted on {datetime.now(UTC):%Y-%m-%d}",
        f"# from {number:,} labelled rows ({extent}) of {_plain(shown(settings.sink_url))}.",
        "# Read it, change it, and name it in JOINBACK_CONFIG of workers and clients.",
        "# `joinback config check` shows the rules that hold.",
        "",
        f"[{APPLICATIONS}.{key(application)}]",
        f"# join_window_s = {settings.join_window_s}  # how long after its prediction feedback may come",
        "# labels = []  # a value of any of these fields makes a row `joined`; without it, a value of any field does",
    ]


def _fields(application: str, fields: dict[str, Seen]) -> Iterator[str]:
    for name, seen in sorted(fields.items()):
        yield ""
        yield f"[{APPLICATIONS}.{key(application)}.feedback.{key(name)}]"
        yield f"# {seen.kinds.total():,} values: {', '.join(_counts(seen))}"
        yield from _type(seen)
        yield from _maturity(seen)
        yield f"# default = {_default(seen)}  # its value from then on, if no feedback means this"
    if len(fields) >= FIELDS_MAX:
        yield f"# Only the first {FIELDS_MAX:,} fields: more are a mistake, such as field names made from ids."


def _counts(seen: Seen) -> Iterator[str]:
    is_shown = seen.kinds["bool"] or isinstance(seen.type, list)
    for value, count in sorted(seen.values.items()) if is_shown else ():
        if isinstance(seen.type, list) or value in ("true", "false"):
            yield f"{_plain(value)} {count:,}"
    for kind, count in sorted(seen.kinds.items()):
        if count and not (is_shown and (kind == "bool" or (isinstance(seen.type, list) and kind == "str"))):
            yield f"{kind} {count:,}"


def _type(seen: Seen) -> Iterator[str]:
    declared = seen.type
    kinds = [kind for kind in seen.kinds if kind != "null"]
    if declared is None:
        yield "# No type takes all of them without loss. The others are kept, and counted in `joinback status`."
        yield f'# type = "{max(_SCALARS, key=lambda scalar: seen.kinds[scalar])}"'
        return
    if len(kinds) > 1 and set(kinds) != {"int", "float"}:
        yield "# They have several JSON types; this type takes all of them without loss."
    yield f"type = {toml(declared)}"


def _maturity(seen: Seen) -> Iterator[str]:
    delay_s = seen.delay_s
    yield "# How long after its prediction it counts as one that never gets a value: what does your business wait?"
    if delay_s is not None:
        yield f"# {_SHARE:.0%} of the values came within {_span(delay_s)}. That is too short, as it does not count"
        yield "# values that have not come yet."
        yield f"# maturity_s = {2 * delay_s}"
    else:
        yield "# maturity_s = 2592000"


def _default(seen: Seen) -> str:
    declared = seen.type
    if isinstance(declared, list):
        return toml(declared[0])
    return {"bool": "false", "int": "0", "float": "0.0", "str": '""', None: "false"}[declared]


def _span(seconds: int) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds} s"


def key(name: str) -> str:
    """Return the name as a key of TOML."""
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else toml(name)


def toml(value: str | Sequence[str]) -> str:
    """Return a text, or a list of texts, as TOML. JSON is TOML too, except that TOML escapes the character DEL."""
    if isinstance(value, str):
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    return f"[{', '.join(map(toml, value))}]"


def _plain(text: str) -> str:
    """Return the text with escapes for the characters that a comment of TOML may not hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
