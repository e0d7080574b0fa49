"""Logins that rotate: a callable that is asked at each of them, given to `init` or named by a setting.

What it says or raises is never shown: that may be the secret itself.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from .errors import ConfigurationError
from .redis_errors import Unreachable

Credentials: TypeAlias = Callable[[], str | tuple[str, str]]
"""Returns a password or token, or (user, password)."""

COROUTINE_FUNCTION = "is a coroutine function; give a plain function"


def ask(credentials: Credentials) -> tuple[str] | tuple[str, str]:
    """Return what a login needs. Raises Unreachable if the callable fails, or returns something else."""
    try:
        given = credentials()
    # By its name alone. sys.exit() too: it would end the sender's thread, or the worker.
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
    """Whether calling it only makes a coroutine: it is asked where no event loop runs."""
    from inspect import iscoroutinefunction  # most services have a password in the URL, or none

    return iscoroutinefunction(credentials) or iscoroutinefunction(getattr(credentials, "__call__", None))  # noqa: B004


def credentials_at(reference: str, name: str) -> Credentials:
    """Return the callable at `package.module:function`. Raises ConfigurationError, which names the setting and the fix.

    Of the reference at most its module is shown: somebody may have written a login there, user:password.
    """
    found = _found(reference)
    if isinstance(found, str):
        raise ConfigurationError(f"{name} {found}")
    return found


@cache
def _found(reference: str) -> Credentials | str:
    """The callable, or what is wrong with the reference. Looked for once: an import that fails may take its time."""
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
    # Whatever a module does when it is imported, sys.exit included.
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
    """Return how lines name the callable: by its place."""
    names = (getattr(credentials, "__module__", None), getattr(credentials, "__qualname__", None))
    place = ":".join(name for name in names if isinstance(name, str)) or type(credentials).__qualname__
    return f"the callable for Redis's credentials, {place},"
