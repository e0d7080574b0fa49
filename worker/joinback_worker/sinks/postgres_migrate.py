"""Migrates PostgreSQL's table from one release to the next, and checks that it is as a worker made it."""

import psycopg

from joinback_worker.errors import SinkMissing, SinkOlder, SinkUnavailable

from .postgres_schema import (
    APPLIED,
    IS_KEYED,
    LIVE_COLUMNS,
    MAY_READ_APPLIED,
    MIGRATIONS,
    READERS_OF_DROPPED,
    check,
    migration,
)
from .postgres_session import Session
from .row_columns import DROPPED_ADVICE


def migrate(session: Session, *, may: bool) -> None:
    """Run the missing migrations. Raises SinkOlder if some are missing and it may not run them, and SinkUnavailable."""
    with session.transaction():
        applied = 0
        if session.execute("SELECT to_regclass('joinback_migrations')").fetchone() != (None,):
            ((applied,),) = session.execute(APPLIED).fetchall()
    newest = max(MIGRATIONS)
    if applied > newest:
        raise SinkUnavailable(
            f"sink {session.where}: schema {applied} is newer than this worker's {newest}; upgrade the worker"
        )
    if not may:
        _refuse_older(session, applied)
    for number in range(applied + 1, newest + 1):
        try:
            with session.transaction():
                session.execute(migration(number))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise _read_by_others(session) from error


def look(session: Session, *, read_only: bool) -> None:
    """Check the tables. Raises SinkMissing, SinkOlder, or SinkUnavailable, which names the column."""
    where = f"sink {session.where}"
    with session.transaction():
        live = session.execute(LIVE_COLUMNS).fetchall()
        # A reader may read a replica that lacks the primary key.
        is_keyed = read_only or session.execute(IS_KEYED).fetchone() == (True,)
        # A role that may only read `records` cannot ask which migrations ran.
        knows = read_only and session.execute(MAY_READ_APPLIED).fetchone() == (True,)
        applied = session.execute(APPLIED).fetchone() if knows else None
    if read_only and not live:
        raise SinkMissing(f"the {where} has no table `records` yet")
    if applied is not None:
        _refuse_older(session, applied[0])
    check(live, is_keyed, where)


def _refuse_older(session: Session, applied: int) -> None:
    if 0 < applied < max(MIGRATIONS):
        raise SinkOlder(f"sink {session.where}", applied)


def _read_by_others(session: Session) -> SinkUnavailable:
    with session.transaction():
        names = [name for (name,) in session.execute(READERS_OF_DROPPED)]
    views = ", ".join(f"the view {name}" for name in names) or "what depends on it in the database"
    return SinkUnavailable(f"sink {session.where}: drop {views}, which reads {DROPPED_ADVICE}")
