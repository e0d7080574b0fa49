"""Every JOINBACK_* environment variable, for client and worker: name, unit, default and meaning in one place."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from .errors import ConfigurationError
from .redis_url import redis_url

_PREFIX = "JOINBACK_"


Reducer = Literal["last", "first", "sum", "mean", "min", "max", "count", "majority"]
_JSON_FIELDS = frozenset({"reducers", "maturity_s", "default_feedback", "sample_rates"})
_CENTURY_S = 3_153_600_000


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field a variable: `redis_url` is JOINBACK_REDIS_URL. The description is README's."""

    redis_url: Annotated[str, Meta(description="The buffer: Redis >= 6.2 or Valkey.")] = "redis://localhost:6379/0"
    queue_url: Annotated[
        str | None,
        Meta(
            description="Where the sign stands that `arq --check` looks for: one server."
            " Unset: on the buffer's Redis; none if that is a cluster."
        ),
    ] = None
    sink_url: Annotated[str, Meta(description="Where rows go.")] = "sqlite:///joinback.db"
    interval_s: Annotated[int, Meta(ge=1, le=86_400, description="Seconds between drains, aligned to the epoch.")] = 300
    buffer_ttl_s: Annotated[
        int,
        Meta(
            ge=1,
            le=31_536_000,
            description="How long Redis keeps a record after its last event: a week outlives a long weekend's outage.",
        ),
    ] = 7 * 86_400
    settled_ttl_s: Annotated[
        int,
        Meta(
            ge=1,
            le=31_536_000,
            description="How long Redis keeps a record once a sink that can look it up has all its events:"
            " an hour, to look at it with redis-cli.",
        ),
    ] = 3_600
    join_window_s: Annotated[
        int,
        Meta(ge=1, le=_CENTURY_S, description="How late feedback may come after its prediction: 180 days."),
    ] = 180 * 86_400
    emit: Annotated[
        Literal["all", "joined"],
        Meta(description="`all` rows, or only those `joined`: with both sides seen."),
    ] = "all"
    reducers: Annotated[
        dict[str, dict[str, Reducer]],
        Meta(
            description="How a field told by several events becomes one value: `last` if not named, `first`,"
            ' `sum`, `mean`, `min`, `max`, `count` or `majority`; as JSON: `{"loans": {"clicks": "sum"}}`.'
        ),
    ] = {}
    maturity_s: Annotated[
        dict[str, Annotated[int, Meta(ge=1, le=_CENTURY_S)]],
        Meta(description='When a prediction without feedback counts as `unlabelled`, as JSON: `{"loans": 2592000}`.'),
    ] = {}
    default_feedback: Annotated[
        dict[str, dict[str, Any]],
        Meta(description='What an unlabelled row gets as feedback, as JSON: `{"ads": {"clicked": false}}`.'),
    ] = {}
    sample_rates: Annotated[
        dict[str, Annotated[float, Meta(gt=0, le=1)]],
        Meta(description='The share of predictions a client logs, as JSON: `{"ads": 0.01}`; their feedback follows.'),
    ] = {}
    spool_dir: Annotated[
        str | None,
        Meta(description="Where a client keeps events on disk that memory cannot hold while Redis is away."),
    ] = None
    environment: Annotated[str | None, Meta(description="Written on each event, such as `production`.")] = None

    def __repr__(self) -> str:
        """Without the URLs: they hold passwords."""
        return f"Settings(interval_s={self.interval_s}, emit={self.emit!r}, environment={self.environment!r}, …)"


def settings_from(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment.

    Raises ConfigurationError, naming the variable and the fix: for a variable nobody knows, a value of the
    wrong type or out of range, a malformed Redis URL.
    """
    known = {_PREFIX + name.upper(): name for name in Settings.__struct_fields__}
    values: dict[str, Any] = {}
    for variable, value in environ.items():
        if not variable.startswith(_PREFIX):
            continue
        if variable not in known:
            import difflib  # only for this message, and slow to import

            near = difflib.get_close_matches(variable.removeprefix(_PREFIX).lower(), known.values(), n=1)
            fix = f"did you mean {_PREFIX}{near[0].upper()}?" if near else f"known are {', '.join(sorted(known))}"
            raise ConfigurationError(f"{variable} is not a variable of Joinback; {fix}")
        values[known[variable]] = _json(variable, value) if known[variable] in _JSON_FIELDS else value
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_explain(str(error), values)) from None
    check_redis_url(settings.redis_url, "JOINBACK_REDIS_URL")
    if settings.queue_url is not None:
        check_redis_url(settings.queue_url, "JOINBACK_QUEUE_URL")
    return settings


def check_redis_url(url: str, name: str) -> None:
    """Raise ConfigurationError if this is no Redis URL. Never repeats the URL: it may hold a password."""
    redis_url(url, name)


def _json(variable: str, value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        raise ConfigurationError(f'{variable} is not JSON; write an object by application, {{"loans": …}}') from None


def _explain(message: str, values: Mapping[str, Any]) -> str:
    """Msgspec's "Expected `int`, got `str` - at `$.interval_s`", in the words of the environment."""
    what, _, where = message.rpartition(" - at `$.")
    where = where.rstrip("`")
    field = re.split(r"\W", where)[0]
    inside = f" at {where}" if where != field else ""
    hint = get_type_hints(Settings)[field]
    if get_args(hint) and all(isinstance(choice, str) for choice in get_args(hint)):
        what = f"Expected one of {', '.join(get_args(hint))}"
    return f"{_PREFIX}{field.upper()}={values[field]!r}{inside}: {what.replace('`', '')}"
