"""Logins that rotate: a callable, given to `init` or named by a setting, that is called at each login.

What it returns or raises is never shown, because that may hold the secret.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from .errors import ConfigurationError
from .redis_errors import Unreachable

Credentials: TypeAlias = Callable[[], str | tuple[str, str]]
"""The callable. It returns a password or token, or (user, password)."""

COROUTINE_FUNCTION = "is a coroutine function; give a plain function"


def ask(credentials: Credentials) -> tuple[str] | tuple[str, str]:
    """Return (password,) or (user, password). Raises Unreachable if the callable fails or returns anything else."""
    try:
        given = credentials()
    # Only the name of the error is shown. SystemExit too: it would end the sender's thread, or the worker.
    except (Exception, SystemExit) as error:
        raise Unreachable(
            f"{shown(credentials)} raised {type(error).__name__}; it is asked again at the next login"
        ) from None
    if isinstance(given, str):
        return (given,)
    if isinstance(given, tuple) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return given
    raise Unreachable(f"{shown(credentials)} returned neither a password nor (user, password)")


def is_coroutine_function(credentials: Credentials) -> bool:
    """Return whether a call only makes a coroutine. That cannot be used: the call is made where no event loop runs."""
    from inspect import iscoroutinefunction  # most services have a password in the URL, or none

    return iscoroutinefunction(credentials) or iscoroutinefunction(getattr(credentials, "__call__", None))  # noqa: B004


def credentials_at(reference: str, name: str) -> Credentials:
    """Return the callable at `package.module:function`. Raises ConfigurationError, which names the setting and the fix.

    The error shows at most the module of the reference: a person may have written a login there, user:password.
    """
    found = _found(reference)
    if isinstance(found, str):
        raise ConfigurationError(f"{name} {found}")
    return found


@cache
def _found(reference: str) -> Credentials | str:
    """Return the callable, or what is wrong with the reference. Cached, because an import that fails may be slow."""
    module, _, path = reference.strip().partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        return "names no callable; write package.module:function"
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            return (
                f"names the module {error.name}, which is not there;"
                " install it beside joinback, or put its folder into PYTHONPATH"
            )
        return f"names a module that imports {error.name}, which is not there; install it"
    # Anything: a module may do anything when it is imported, even exit.
    except (Exception, SystemExit) as error:
        return f"names a module whose import raised {type(error).__name__}; `python -c 'import …'` shows where"
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        return "names nothing in its module that can be called; write package.module:function"
    if is_coroutine_function(found):
        return f"names what {COROUTINE_FUNCTION}"
    credentials: Credentials = found
    return credentials


def shown(credentials: Credentials) -> str:
    """Return how log lines name the callable: by its module and name."""
    names = (getattr(credentials, "__module__", None), getattr(credentials, "__qualname__", None))
    place = ":".join(name for name in names if isinstance(name, str)) or type(credentials).__qualname__
    return f"the callable for Redis's credentials, {place},"
