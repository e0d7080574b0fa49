"""Typed views: one per application, over `records`. They are made in the sink, or printed.

A view has a note: a comment in JSON. By the note we recognize our own views, and the columns that they have.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from joinback.errors import ConfigurationError, JoinbackError
from joinback_worker.law.rules import Rules
from joinback_worker.sinks import Sink, Standing

from .columns import FIXED, NAME_BYTES_MAX, Column, Field, Part, Place, columns_of
from .dialects import DIALECTS, expression
from .kinds import Kind, joined
from .survey import Survey

FIELDS_MAX = 500
"""A view has at most 1,600 columns in PostgreSQL and 2,000 in SQLite, and a feedback field takes three."""

_NAME = re.compile(rf"[a-z_][a-z0-9_]{{0,{NAME_BYTES_MAX - 1}}}")
_SPELLED = {"label_age_s": "feedback_delay_s"}
_OURS = frozenset({"records", "events", "policies", "joinback_migrations"})

ENGINES = {
    "embedded": "sqlite", "sqlite": "sqlite", "postgresql": "postgres", "postgres": "postgres",
    "clickhouse": "clickhouse", "clickhouses": "clickhouse", "chdb": "clickhouse",
    "delta": "duckdb", "delta+s3": "duckdb", "parquet": "duckdb", "jsonl": "duckdb",
}  # fmt: skip
"""Scheme of a sink's URL -> the engine whose SQL reads the sink."""


class _NotedColumn(Struct, array_like=True):
    name: str
    place: Place
    key: str | None
    part: Part
    kind: Kind | Literal["time", ""]
    """Empty if no value was seen yet."""


class Note(Struct):
    """The note of a view."""

    joinback: Annotated[int, Meta(ge=1, le=1)]
    application: str
    columns: list[_NotedColumn]


class View(Struct, frozen=True):
    """A typed view as it should be, and as it was."""

    name: str
    application: str
    columns: list[Column]
    before: list[Column] | None
    """The columns that the view has; None if it does not exist."""
    survey: Survey

    @property
    def added(self) -> list[Column]:
        """The columns that the view does not have yet."""
        known = {column.name for column in self.before or ()}
        return [column for column in self.columns if column.name not in known]

    @property
    def retyped(self) -> list[tuple[Column, Column]]:
        """The columns whose kind changed, as pairs of before and after."""
        return [(old, new) for old, new in zip(self.before or (), self.columns, strict=False) if old.kind != new.kind]


def name_of(application: str, given: str | None = None) -> str:
    """Return the name of an application's view, which every engine accepts unquoted. Raises ConfigurationError."""
    if given is not None:
        if not _NAME.fullmatch(given):
            raise ConfigurationError(
                f"--name {given!r}: use a to z, digits and _, no digit first, and at most {NAME_BYTES_MAX} characters"
            )
        return given
    name = re.sub(r"[^a-z0-9]+", "_", application.lower()).strip("_")
    if not name or name[0].isdigit():
        name = f"app_{name}".rstrip("_")
    if name in _OURS:
        name += "_view"
    if len(name) > NAME_BYTES_MAX:
        digest = hashlib.blake2b(application.encode(), digest_size=4).hexdigest()
        name = f"{name[: NAME_BYTES_MAX - 9]}_{digest}"
    return name


async def view_of(sink: Sink, application: str, rules: Rules, name: str) -> View:
    """Return the view as it should be, by what is declared and by a sample of the rows.

    Raises JoinbackError if something else has this name, or if the application has no rows.
    """
    note = _note_in(await sink.standing(name), application, name)
    survey = Survey(rules, FIELDS_MAX)
    async for rows in sink.sample(application):
        for row in rows:
            survey.add(row)
    if note is None and not survey.rows:
        raise JoinbackError(f"the sink holds no row of {application!r}: correct the name, or drain first")
    before = None if note is None else _columns_in(note)
    kinds = survey.kinds
    for noted in note.columns if note is not None else ():
        field = Field(noted.place, noted.key)
        if noted.part == "value" and noted.kind and noted.kind != "time" and field not in survey.declared:
            # A kind that was seen once stays possible, whatever this sample holds.
            kinds[field] = joined(noted.kind, None if field in survey.unseen else kinds.get(field)) or noted.kind
    return View(name, application, columns_of(kinds, before or ()), before, survey)


def statements(view: View, engine: str) -> list[str]:
    """Return the statements that make the view, or replace it."""
    dialect = DIALECTS[engine]
    name, note = dialect.name(view.name), _note(view)
    fixed = [f"records.{_SPELLED.get(column, column)} AS {column}" for column in FIXED]
    typed = [f"{expression(dialect, column)} AS {dialect.name(column.name)}" for column in view.columns]
    selected = ",\n    ".join([*fixed, *typed])
    query = f"SELECT\n    {selected}\nFROM records\nWHERE records.application = {dialect.text(view.application)}"
    if engine == "sqlite":
        drop = [] if view.before is None else [f"DROP VIEW {name}"]
        # JSON may escape a slash. So no text in it can end the comment.
        comment = note.replace("/", "\\/")
        return [*drop, f"CREATE VIEW {name} AS /* {comment} */\n{query}"]
    if engine == "postgres":
        drop = [f"DROP VIEW {name}"] if view.retyped else []
        return [*drop, f"CREATE OR REPLACE VIEW {name} AS\n{query}", f"COMMENT ON VIEW {name} IS {dialect.text(note)}"]
    if engine == "clickhouse":
        return [f"CREATE OR REPLACE VIEW {name} AS\n{query}\nCOMMENT {dialect.text(note)}"]
    return [f"CREATE OR REPLACE VIEW {name} AS\n{query}"]


def _note(view: View) -> str:
    columns = [
        _NotedColumn(
            column.name,
            column.field.place,
            column.field.key,
            column.part,
            "" if column.part == "value" and column.field in view.survey.unseen else column.kind,
        )
        for column in view.columns
    ]
    return msgspec.json.encode(Note(1, view.application, columns)).decode()


def _note_in(standing: Standing | None, application: str, name: str) -> Note | None:
    if standing is None:
        return None
    try:
        note = msgspec.json.decode(standing.note, type=Note)
    except msgspec.MsgspecError:
        what = "a view" if standing.is_view else "a table"
        raise JoinbackError(f"{name} is {what} that Joinback has not made; choose another name by --name") from None
    if not standing.is_view or note.application != application:
        raise JoinbackError(f"{name} is the view of {note.application!r}; choose another name by --name")
    return note


def _columns_in(note: Note) -> list[Column]:
    return [Column(c.name, Field(c.place, c.key), c.part, c.kind or "json") for c in note.columns]


def renamed(columns: Iterable[Column]) -> Sequence[Column]:
    """Return the value columns that have another name than their field."""
    return [c for c in columns if c.part == "value" and c.field.key is not None and c.name != c.field.key]
