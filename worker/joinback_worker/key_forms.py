"""Other forms of a join key: what it would be with a prefix, in another case, as a number, and so on.

Pure: it makes candidates from a key and from what existing keys look like. The caller looks the candidates up.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, product
from typing import Any

from msgspec import Struct

import joinback

FORMS_MAX = 128
"""The most forms of one key: each costs a look-up, and the likely ones, of one or two changes, come first."""
PREFIXES_MAX = 3
"""The most prefixes that are tried: each one multiplies the forms."""
_PARTS_MAX = 4
"""The most leading parts of a key that may be its prefix: a URL would have one for each of its parts."""
SHARE_MIN = 0.1
"""The share of existing keys that must have a prefix or a separator in common: with fewer it may be chance."""
_SEPARATORS = "-_:./ "
_NUMBER_AT_END = re.compile(r"(.*?)(\d+)", re.ASCII | re.DOTALL)
_WHOLE_FLOAT = re.compile(r"(.*?)(\d+)[.,]0+", re.ASCII | re.DOTALL)
_POWER = re.compile(r"\d(?:\.\d+)?[eE]\+?\d{1,2}", re.ASCII)
_GROUPED = re.compile(r"(.*?)(\d{1,3}(?:[,.' ]\d{3})+)", re.ASCII | re.DOTALL)
_LETTERLESS = re.compile(r"[\W\d_]*")
"""Text without a letter, which is not taken for a prefix: `17.` is not the prefix of `17.0`."""
_DIGEST = re.compile(r"[0-9a-f]{32}", re.ASCII)
_UUID = re.compile(r"\{?([0-9a-fA-F]{8})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{4})-?([0-9a-fA-F]{12})\}?")


class Looks(Struct, frozen=True, kw_only=True):
    """What existing keys look like."""

    prefixes: tuple[str, ...] = ()
    """The prefixes that many keys share, the most frequent first; "" if many begin with their number."""
    widths: tuple[int, ...] = ()
    """How many digits their numbers have, of those numbers that begin with a zero."""
    separators: str = "-_"
    """The separators that many keys have, the most frequent first."""
    are_digests: bool = False
    """True if most are 32 hex digits, as JoinKey.from_dict makes them."""


class Form(Struct, frozen=True):
    """Another form of a key, and how it differs, in words for a person."""

    key: str
    how: str


def learn(keys: Iterable[str]) -> Looks:
    """Return what these existing keys look like."""
    prefixes: Counter[str] = Counter()
    widths: Counter[int] = Counter()
    separators: Counter[str] = Counter()
    total = digests = 0
    for key in keys:
        total += 1
        prefixes.update(_prefixes(key))
        separators.update(character for character in set(key) if character in _SEPARATORS)
        digests += is_digest(key)
        if (number := _NUMBER_AT_END.fullmatch(key)) and len(number[2]) > 1 and number[2][0] == "0":
            widths[len(number[2])] += 1
    habit = max(1.0, SHARE_MIN * total)
    return Looks(
        prefixes=tuple([prefix for prefix, n in prefixes.most_common() if _is_habit(prefix, n, habit)][:PREFIXES_MAX]),
        widths=tuple(width for width, _ in widths.most_common(2)),
        separators="".join(mark for mark, n in separators.most_common() if n >= habit) or "-_",
        are_digests=2 * digests > total > 0,
    )


def is_digest(key: str) -> bool:
    """Return whether a key is 32 hex digits, as JoinKey.from_dict, a rule Hash("join_key") and new keys are."""
    return _DIGEST.fullmatch(key) is not None


def _is_habit(prefix: str, count: int, habit: float) -> bool:
    # One key alone with digits in its middle, such as a UUID, does not show where its number begins.
    return count >= habit and (count > 1 or not any(map(str.isdigit, prefix)))


def forms(key: str, looks: Looks) -> list[Form]:
    """Return at most FORMS_MAX other forms of a key, those with the fewest changes first; each key once."""
    found: dict[str, tuple[int, str]] = {}
    for changes in _PLANS:
        for other, hows in _changed(key, changes, looks):
            if other and other != key and (other not in found or found[other][0] > len(hows)):
                found[other] = len(hows), " and ".join(hows)
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return [Form(other, how) for other, (_, how) in ordered[:FORMS_MAX]]


def dict_forms(fields: Mapping[str, Any]) -> list[Form]:
    """Return the keys that JoinKey.from_dict makes of these fields with numbers as int, float or text."""
    options = [[(name, *other) for other in _as_types(value)] for name, value in fields.items()]
    found: dict[str, Form] = {}
    for chosen in product(*options):
        values = {name: value for name, value, _ in chosen}
        types = ", ".join(f"{name} as {kind}" for name, _, kind in chosen)
        try:
            key = str(joinback.JoinKey.from_dict(values))
        except TypeError:
            continue
        found.setdefault(key, Form(key, f"as JoinKey.from_dict of {types}"))
        if len(found) == FORMS_MAX:
            break
    return list(found.values())


def _as_types(value: Any) -> list[tuple[Any, str]]:
    """Return (value, type): the value itself first, then the other types that a table may have given it."""
    others: list[Any] = [value, str(value)]
    try:
        number = float(value)
        others += [number] if abs(number) != float("inf") and number == number else []
        others += [int(number), str(int(number)), str(number)] if number.is_integer() and abs(number) < 2**53 else []
    except (TypeError, ValueError, OverflowError):
        pass
    unique: list[tuple[Any, str]] = []
    for other in others:
        # 1 and 1.0 are equal, and make different keys.
        if not any(type(other) is type(one) and other == one for one, _ in unique):
            unique.append((other, type(other).__name__))
    return unique


def _prefixes(key: str) -> set[str]:
    """Return what may be the prefix of a key: all before its last number, and all up to each separator."""
    places = (place for place, character in enumerate(key) if character in _SEPARATORS)
    found = {key[: place + 1] for place in islice(places, _PARTS_MAX)}
    if number := _NUMBER_AT_END.fullmatch(key):
        found.add(number[1])
    return found


def with_prefix(prefix: str) -> str:
    """Return `Form.how` of a form that only adds this prefix."""
    return f"with the prefix {prefix!r}"


# --- changes: each yields other keys, and how they differ ------------------------------------------------

Change = Callable[[str, Looks], Iterator[tuple[str, str]]]


def _changed(key: str, changes: list[Change], looks: Looks) -> Iterator[tuple[str, tuple[str, ...]]]:
    if not changes:
        yield key, ()
        return
    for other, how in changes[0](key, looks):
        if other != key:
            for further, hows in _changed(other, changes[1:], looks):
                yield further, (how, *hows)


def _spaces(key: str, looks: Looks) -> Iterator[tuple[str, str]]:
    yield "".join(key.split()), "without white space"
    yield key.strip(" \t\u00a0'\""), "without the quotes or white space around it"


def _number(key: str, looks: Looks) -> Iterator[tuple[str, str]]:
    if found := _WHOLE_FLOAT.fullmatch(key):
        yield found[1] + found[2], "as an integer, not a float (17, not 17.0)"
    elif _POWER.fullmatch(key) and float(key).is_integer():
        yield str(int(float(key))), "as an integer, not a float (17, not 1.7e1)"
    elif found := _GROUPED.fullmatch(key):
        yield found[1] + re.sub(r"\D", "", found[2]), "without marks between thousands"
    elif key.isascii() and key.isdigit():
        yield f"{key}.0", "as a float, not an integer (17.0, not 17)"


def _zeros(key: str, looks: Looks) -> Iterator[tuple[str, str]]:
    if found := _NUMBER_AT_END.fullmatch(key):
        yield found[1] + (found[2].lstrip("0") or "0"), "without leading zeros"
        for width in looks.widths:
            yield found[1] + found[2].lstrip("0").zfill(width), f"with leading zeros, to {width} digits"


def _case(key: str, looks: Looks) -> Iterator[tuple[str, str]]:
    yield key.lower(), "in lower case"
    yield key.upper(), "in upper case"


def _marks(key: str, looks: Looks) -> Iterator[tuple[str, str]]:
    if found := _UUID.fullmatch(key):
        yield "-".join(found.groups()), "as a UUID with hyphens"
        yield "".join(found.groups()), "as a UUID without hyphens"
        return
    for mark in looks.separators:
        yield re.sub(r"[-_:./ ]+", mark, key), f"with {mark!r} between its parts"


def _prefix(key: str, looks: Looks) -> Iterator[tuple[str, str]]:
    own = sorted((prefix for prefix in _prefixes(key) if not _LETTERLESS.fullmatch(prefix)), key=len, reverse=True)
    for prefix in looks.prefixes:
        if prefix and not key.startswith(prefix):
            yield prefix + key, with_prefix(prefix)
        for former in own:
            if former != prefix:
                how = f"with the prefix {prefix!r}, not {former!r}" if prefix else f"without the prefix {former!r}"
                yield prefix + key.removeprefix(former), how
    for former in own:
        yield key.removeprefix(former), f"without the prefix {former!r}"


_CHANGES: tuple[Change, ...] = (_spaces, _number, _zeros, _case, _marks, _prefix)
"""In the order in which they are made: a number is written as an integer before its zeros; the prefix comes last."""
_PLANS = sorted(
    ([change for change, is_used in zip(_CHANGES, used, strict=True) if is_used] for used in product((1, 0), repeat=6)),
    key=len,
)
"""Every set of changes to make together: the smallest first; among equals, those with earlier changes first."""
