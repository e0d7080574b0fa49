"""`read`: an application's rows as a table of typed columns. Its libraries are imported when it is called."""

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
    """Return the rows of an application as a pyarrow.Table, or as a pandas or polars DataFrame.

    The table has one row per join key, in the order of the keys. It has one column per input, output and feedback
    field, named as `joinback sink views` names them.

    - `url`: the URL of the sink; None means JOINBACK_SINK_URL.
    - `since`, `until`: bounds of `predicted_at`, the first included, the second not. A datetime, or ISO 8601 text; UTC
      without a time zone.
    - `columns`: the names of the columns to return, in this order.
    - `status`: one or several of `predicted`, `joined`, `unlabelled` and `orphan`.
    - `as_`: the kind of table.

    In a sink of files or a lake, a view joins the events when it is read. It then follows the rules in the file that
    JOINBACK_CONFIG names now.

    Beside the result it takes little memory: rows wait in a temporary file until the types of their columns are known.
    Needs the extras `worker` and `parquet`, and the sink's own. Raises ConfigurationError for what is missing or wrong,
    and JoinbackError if the sink cannot be read.
    """
    try:
        # By name, because the client does not import the worker.
        worker_read = import_module("joinback_worker.flat.reading").read
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"joinback.read needs {error.name}; in its clone: pip install '.[worker,parquet]'"
        ) from None
    return worker_read(url, application, since=since, until=until, columns=columns, status=status, as_=as_)
