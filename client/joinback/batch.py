"""Many records of one call: the columns are checked as wholes, then the records are logged one by one.

A wrong column is one error, and nothing of the call is logged: a call that is half logged cannot be repeated.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

from . import cells, columns, events, ids
from .columns import Column
from .drops import NotLogged
from .errors import InvalidEvent
from .patience import Patience

if TYPE_CHECKING:
    from .client import Client

Cells = Mapping[str, Sequence[Any]]
"""Name of a column -> its cells. In the place of a wrong cell stands the NotLogged that says why."""


def log(
    client: "Client",
    application: str,
    given: Mapping[str, Column | None],
    version: object,
    tags: Mapping[str, Any] | None,
    wait_s: float,
    source: object = None,
) -> list[str]:
    """Do what `Client.log_records` does. `version` and `tags` are for the records where no column has its own."""
    try:
        # "-" stands in for a key: only the application is checked here.
        events.check_names(application, "-", None, None)
        patience = Patience(wait_s)
        events.source_of(source)
        if version is not None and given.get("versions") is not None:
            raise NotLogged("invalid", "give version or versions, not both")
        table = read(given)
        total = _check(table)
    except Exception as error:
        client._funnel.drop(error, application)
        return []
    keys: list[str] = []
    constants = {"versions": events.text_of(version), "tags": tags}
    names = ("inputs", "outputs", "feedback", "join_keys", "timestamps", "event_ids", "versions", "tags")
    rows = [table.get(name, repeat(constants.get(name), total)) for name in names]
    for inputs, outputs, feedback, key, at, event_id, version_text, own in zip(*rows, strict=True):
        if key is None and inputs is not None:
            key = ids.key_of(None)
        # "" for a row without key and inputs: there is nothing to log.
        keys.append(key or "")
        if inputs is None and feedback is None:
            continue
        funnel = client._open_funnel()
        if funnel is None:
            continue
        logged_at = datetime.now(UTC)
        common = (logged_at if at is None else at, logged_at, version_text, funnel.environment, own)
        identity = ids.new_id() if event_id is None else event_id
        try:
            funnel.log(
                application, key, identity, (inputs, outputs, feedback), common, source=source, patience=patience
            )
        except InvalidEvent as error:
            raise InvalidEvent(f"record {len(keys)} of {total}: {error}; those before it were logged") from error
        except Exception as error:
            funnel.drop(error, application)
    return keys


# --- from columns to cells ------------------------------------------------------------------------------

_SCALARS: dict[str, Callable[[Any], Any]] = {
    "join_keys": cells.key,
    "event_ids": cells.event_id,
    "timestamps": cells.when,
    "versions": cells.version,
}
_FIELDS = frozenset({"feedback", "feedbacks", "tags", "row_tags"})
_SIDES = frozenset({"inputs", "outputs"})


def read(given: Mapping[str, Column | None], unnamed: str | None = None) -> Cells:
    """Return the cells of the columns that are not None. The name of a column says by which rules it is read.

    `unnamed` is the field for the values of a Series without a name. Raises NotLogged for what cannot be a column, and
    if lengths differ.
    """
    _check_indexes(given)
    table: dict[str, Sequence[Any]] = {}
    for name, column in given.items():
        if column is None:
            continue
        if name in _SIDES:
            table[name] = columns.features(column, name, unnamed)
        elif name in _FIELDS:
            table[name] = columns.fields(column, name, unnamed)
        else:
            items = columns.plain(column, name)
            table[name] = cells.each(_SCALARS[name], items) if name in _SCALARS else items
    lengths = {name: len(items) for name, items in table.items()}
    if len(set(lengths.values())) > 1:
        raise NotLogged("invalid", f"columns of different lengths: {lengths}")
    return table


def _check_indexes(given: Mapping[str, Column | None]) -> None:
    """Raise NotLogged if pandas columns share an index in different orders: somebody sorted one without the others."""
    first: tuple[str, Any] | None = None
    for name, column in given.items():
        index: Any = getattr(column, "index", None)
        # A list has a method `index`. Only the index of pandas has `equals`.
        if not callable(getattr(index, "equals", None)):
            continue
        if first is None:
            first = name, index
        elif len(index) == len(first[1]) and not first[1].equals(index) and index.isin(first[1]).all():
            fix = "bring them into one order, or reset_index(drop=True) if they are in one already"
            raise NotLogged("invalid", f"{first[0]} and {name} have one index in two orders; {fix}")


def refuse_wrong(table: Cells, *, if_all: bool = False) -> None:
    """Raise NotLogged for the first column with a wrong cell; with `if_all`, for the first with wrong cells only."""
    for name, items in table.items():
        wrong = [n for n, cell in enumerate(items) if type(cell) is NotLogged]
        if wrong and (len(wrong) == len(items) or not if_all):
            raise _wrong(name, wrong, len(items), str(items[wrong[0]]))


def _check(table: Cells) -> int:
    """Return the number of records. Raises NotLogged unless each can be logged, or has no side at all."""
    if not table.keys() & {"inputs", "outputs", "feedback"}:
        raise NotLogged("invalid", "nothing to log; give inputs and outputs, or feedback")
    refuse_wrong(table)
    total = len(next(iter(table.values())))
    for name, wrong, why in _mistakes(table, total):
        if wrong:
            raise _wrong(name, wrong, total, why)
    return total


def _mistakes(table: Cells, total: int) -> Iterator[tuple[str, list[int], str]]:
    nothing: Sequence[None] = [None] * total
    inputs, outputs = table.get("inputs", nothing), table.get("outputs", nothing)
    halves = [n for n, (i, o) in enumerate(zip(inputs, outputs, strict=True)) if (i is None) != (o is None)]
    yield "outputs" if "inputs" in table else "inputs", halves, "a prediction needs both inputs and outputs"
    if "feedback" in table:
        keys = table.get("join_keys", nothing)
        # In a table of feedback alone each row needs a key, even if its feedback is missing.
        labels = table["feedback"] if "inputs" in table else repeat(True, total)
        rows = enumerate(zip(keys, inputs, labels, strict=True))
        alone = [n for n, (key, i, label) in rows if key is None and i is None and label is not None]
        yield "join_keys", alone, "missing, and feedback needs the join_key of its prediction; leave these out"
    ids = table.get("event_ids", ())
    yield "event_ids", [n for n, cell in enumerate(ids) if cell is None], "missing; give each record its own"


def _wrong(name: str, wrong: list[int], total: int, why: str) -> NotLogged:
    count = f"{len(wrong):,} of {total:,} cells are wrong, the first at index {wrong[0]}"
    return NotLogged("invalid", f"{name}: {count}: {why}. Nothing was logged")
