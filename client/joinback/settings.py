"""Every JOINBACK_* environment variable: name, unit, default, meaning, and who reads it, in one place.

Each side checks only what it reads: a variable of the other side, of a newer release or of Kubernetes must not stop it.
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from . import log
from .errors import ConfigurationError
from .redis_url import redis_url

_PREFIX = "JOINBACK_"

CLIENT, WORKER, BOTH = "client", "worker", "both"
"""Who reads a variable. It stands in the type of the variable's field, beside its meaning."""

_CENTURY_S = 3_153_600_000
_SHOWN_LENGTH_MAX = 200
"""A wrong value is quoted in one line of the log, so it is cut."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field per variable: `redis_url` is JOINBACK_REDIS_URL. docs/reference/settings.md has the descriptions."""

    redis_url: Annotated[str, Meta(description="The buffer: Redis >= 6.2 or Valkey."), BOTH] = (
        "redis://localhost:6379/0"
    )
    redis_credentials: Annotated[
        str | None,
        Meta(
            description="A callable, as `package.module:function`, that is asked at each login for a password or token,"
            " or for (user, password); in place of the URL's, for those that rotate."
        ),
        BOTH,
    ] = None
    queue_url: Annotated[
        str | None,
        Meta(
            description="Where the worker writes its health key for `arq --check`: one server."
            " Unset: on the buffer's Redis; none if that is a cluster."
        ),
        WORKER,
    ] = None
    sink_url: Annotated[
        str,
        Meta(description="Where rows go. `embedded:` is SQLite in this user's `~/.local/share/joinback/joinback.db`."),
        WORKER,
    ] = "embedded:"
    interval_s: Annotated[
        int, Meta(ge=1, le=86_400, description="Seconds between drains, aligned to the epoch."), WORKER
    ] = 300
    buffer_ttl_s: Annotated[
        int,
        Meta(
            ge=1,
            le=31_536_000,
            description="How long Redis keeps a record after its last event: a week outlives a long weekend's outage.",
        ),
        BOTH,
    ] = 7 * 86_400
    settled_ttl_s: Annotated[
        int,
        Meta(
            ge=1,
            le=31_536_000,
            description="How long Redis keeps a record once a sink that can look it up has all its events:"
            " an hour, to look at it with redis-cli.",
        ),
        WORKER,
    ] = 3_600
    join_window_s: Annotated[
        int,
        Meta(ge=1, le=_CENTURY_S, description="How late feedback may come after its prediction: 180 days."),
        WORKER,
    ] = 180 * 86_400
    emit: Annotated[
        Literal["all", "joined"],
        Meta(description="`all` rows, or only those `joined`: with both sides seen."),
        WORKER,
    ] = "all"
    config: Annotated[
        str | None,
        Meta(
            description="A file of rules by application and feedback field, such as `joinback.toml`;"
            " docs/reference/rules.md. Read at the start."
        ),
        BOTH,
    ] = None
    log_format: Annotated[
        Literal["text", "json"],
        Meta(description="The worker's log on stderr: `text`, or one `json` object per line."),
        WORKER,
    ] = "text"
    dashboard_password: Annotated[
        str | None,
        Meta(
            description="What `joinback dashboard` asks for, whatever the user's name; without one it listens on this"
            " machine alone; docs/how-to/dashboard.md."
        ),
        WORKER,
    ] = None
    spool_dir: Annotated[
        str | None,
        Meta(description="Where a client keeps events on disk that memory cannot hold while Redis is away."),
        CLIENT,
    ] = None
    environment: Annotated[str | None, Meta(description="Written on each event, such as `production`."), CLIENT] = None

    def __repr__(self) -> str:
        """Leave out the URLs, which may hold passwords, and the password."""
        return f"Settings(interval_s={self.interval_s}, emit={self.emit!r}, environment={self.environment!r}, …)"


def settings_from(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of a worker or a command. The client's own variables stay at their defaults.

    An empty variable counts as not set. Raises ConfigurationError, which names the variable and the fix, for a value of
    the wrong type or out of range, a malformed Redis URL, `memory://` (it would be empty here), and a name that is
    nearly one of the worker's variables. Any other unknown name may be of a newer release: it is logged.
    """
    texts, unknown = _given(environ, WORKER)
    own = _variables(WORKER, BOTH)
    for variable in unknown:
        if variable in _MOVED[WORKER]:
            raise ConfigurationError(_moved(variable, _MOVED[WORKER][variable]))
        if near := _nearest(variable, own, _TYPO):
            raise ConfigurationError(f"{variable} is not a variable of Joinback; did you mean {near}?")
    for variable in unknown:
        if variable not in _MOVED[CLIENT]:
            log.warning("joinback: %s", _ignored(variable))
    settings = Settings(**{field: _value_of(_variable(field), text, _hints()[field]) for field, text in texts.items()})
    for url, name in ((settings.redis_url, "JOINBACK_REDIS_URL"), (settings.queue_url, "JOINBACK_QUEUE_URL")):
        if url is not None and redis_url(url, name).kind == "memory":
            raise ConfigurationError(
                f"{name} is {url}, which lives in one process, and this is another; give both a server, such as that of"
                " `joinback demo --keep`, or drain in that process by joinback.testing.local(redis_url=…)"
            )
    return settings


def client_settings(environ: Mapping[str, str] = os.environ) -> tuple[Settings, list[str]]:
    """Return the settings of a client, and one line per variable that has no effect because it is unknown or wrong.

    Where a value is wrong the default is used, so that logging goes on whatever is in the environment. There is no
    substitute for a wrong Redis URL: `redis_url` is returned as it is, for `check_redis_url` to refuse.
    """
    texts, unknown = _given(environ, CLIENT)
    moved = _MOVED[CLIENT]
    lines = [_moved(variable, moved[variable]) for variable in unknown if variable in moved]
    lines += [_ignored(variable) for variable in unknown if variable not in moved and variable not in _MOVED[WORKER]]
    values: dict[str, Any] = {}
    for field, text in texts.items():
        try:
            values[field] = _value_of(_variable(field), text, _hints()[field])
        except ConfigurationError as error:
            lines.append(f"{error}; the default {getattr(Settings(), field)!r} is used")
    return Settings(**values), lines


def check_redis_url(url: str, name: str) -> None:
    """Raise ConfigurationError if this is not a Redis URL. Never shows the URL, which may hold a password."""
    redis_url(str(url), name)


_FOREIGN = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_.+|ENV_.+)")
"""The variables that Kubernetes makes per Service, and Docker per link, whose name begins with `joinback`."""
_TYPO = 0.8
"""difflib's ratio from which a name counts as a typo: INTERVALL_S of INTERVAL_S, but not SETTLED_TTL_S of
BUFFER_TTL_S."""
_HINT = 0.6
"""difflib's ratio from which a name is offered as a hint."""


def _given(environ: Mapping[str, str], reader: str) -> tuple[dict[str, str], list[str]]:
    """Return field -> text of the variables that this reader reads, and the names of the unknown variables."""
    known = _variables(CLIENT, WORKER, BOTH)
    own = _variables(reader, BOTH)
    ours = {name: text for name, text in environ.items() if name.startswith(_PREFIX) and text.strip()}
    unknown = [name for name, text in ours.items() if name not in known and not _is_foreign(name, text)]
    return {own[name]: text for name, text in ours.items() if name in own}, unknown


def _is_foreign(variable: str, text: str) -> bool:
    name = variable.removeprefix(_PREFIX)
    # A Service's address or a link's path. A bare number is not theirs, so it is unknown.
    by_value = (name.endswith("PORT") and "://" in text) or (name.endswith("NAME") and text.startswith("/"))
    return by_value or _FOREIGN.fullmatch(name) is not None


@lru_cache(maxsize=1)
def _hints() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def reader_of(field: str) -> str:
    """Return who reads this field: "client", "worker" or "both"."""
    return next(who for who in _hints()[field].__metadata__ if isinstance(who, str))


def _variable(field: str) -> str:
    return _PREFIX + field.upper()


@lru_cache(maxsize=4)
def _variables(*readers: str) -> dict[str, str]:
    """Return variable -> field, for the fields that these readers read."""
    return {_variable(name): name for name in Settings.__struct_fields__ if reader_of(name) in readers}


def _value_of(variable: str, text: str, hint: Any) -> Any:
    """Return the text as a value of this type. Raises ConfigurationError."""
    try:
        return msgspec.convert(text, hint, strict=False)
    except msgspec.ValidationError as error:
        wrong = f"{variable}={repr(text)[:_SHOWN_LENGTH_MAX]}"
        raise ConfigurationError(f"{wrong} {_must(variable, hint, error)}") from None


def _must(variable: str, hint: Any, error: msgspec.ValidationError) -> str:
    """Return what a value of this type must be."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    choices = get_args(kind)
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"must be one of {', '.join(choices)}"
    if kind is int:
        bounds = next(part for part in hint.__metadata__ if isinstance(part, Meta))
        default = getattr(Settings(), variable.removeprefix(_PREFIX).lower())
        return f"must be a whole number of seconds, such as {default}; the least is {bounds.ge}, the most {bounds.le}"
    return f"is wrong: {str(error).replace('`', '')}"


def _nearest(variable: str, known: Iterable[str], ratio_min: float) -> str | None:
    import difflib  # only for a message, and slow to import

    # Compare without the prefix, which is the same in all names.
    names = [name.removeprefix(_PREFIX) for name in known]
    near = difflib.get_close_matches(variable.removeprefix(_PREFIX), names, n=1, cutoff=ratio_min)
    return _PREFIX + near[0] if near else None


_MOVED = {
    WORKER: {
        "JOINBACK_REDUCERS": "feedback.<field>.reducer",
        "JOINBACK_MATURITY_S": "maturity_s",
        "JOINBACK_DEFAULT_FEEDBACK": "feedback.<field>.default",
    },
    CLIENT: {"JOINBACK_SAMPLE_RATES": "sample_rate"},
}
"""Reader -> variables of earlier releases, each with the key in the file of JOINBACK_CONFIG that replaces it."""


def _moved(variable: str, key: str) -> str:
    return (
        f"{variable} has no effect any more: say it in the file that JOINBACK_CONFIG names, as"
        f" applications.<name>.{key}, and unset the variable; docs/reference/rules.md has an example"
    )


def _ignored(variable: str) -> str:
    near = _nearest(variable, _variables(CLIENT, WORKER, BOTH), _HINT)
    fix = f"did you mean {near}?" if near else "docs/reference/settings.md has the list"
    return f"{variable} is not a variable of this release of Joinback and has no effect; {fix}"
