"""`read`: an application's rows as a table of typed columns. Nothing is imported before it is called."""

from collections.abc import Collection, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, Literal

from .errors import ConfigurationError


def read(
    url: str | None,
    application: str,
    *,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    columns: Sequence[str] | None = None,
    status: str | Collection[str] | None = None,
    as_: Literal["arrow", "pandas", "polars"] = "arrow",
) -> Any:
    """Return the rows of an application as a pyarrow.Table, or a pandas or polars DataFrame: one row per join key, in
    the order of the keys; one column per input, output and feedback field, as `joinback sink views` has them.

    `url` is the sink's; None is JOINBACK_SINK_URL. `since` and `until` bound `predicted_at`: the first is within, the
    second is not; a text is ISO 8601, UTC where it names no zone. `columns` are the names wanted, in this order;
    `status` is one or several of predicted, joined, unlabelled and orphan. Where a view folds (a lake, files) the rules
    are those of the file that JOINBACK_CONFIG names, at this moment.

    Beside the result it takes little memory: rows wait in a temporary file until the types of their columns are known.
    Needs the extras `worker` and `parquet`, and the sink's. Raises ConfigurationError for what is missing or wrong,
    JoinbackError where the sink cannot be read.
    """
    try:
        # By its name: nothing of the client knows the worker.
        worker_read = import_module("joinback_worker.flat.reading").read
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"joinback.read needs {error.name}; in its clone: pip install '.[worker,parquet]'"
        ) from None
    return worker_read(url, application, since=since, until=until, columns=columns, status=status, as_=as_)
