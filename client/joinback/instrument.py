"""A decorator for a predict function: its arguments are the inputs, its result is the outputs."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .drops import NotLogged
from .errors import ConfigurationError
from .log import words_of

if TYPE_CHECKING:
    from .client import Client

P = ParamSpec("P")
R = TypeVar("R")

KeyOf = Callable[[dict[str, Any], Any], Any]
"""Takes the arguments by name and the result; returns the join key."""


def instrument(
    application: str,
    *,
    join_key: str | KeyOf,
    version: str | int | float | None = None,
    tags: Mapping[str, Any] | None = None,
    ignore: Collection[str] = (),
    client: "Client | None" = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that logs each call of a function, sync or async, as a prediction, once it has returned.

        @joinback.instrument("loans", join_key="loan_id", version="1.0")
        def predict(loan_id, amount, term_months): ...

    - `join_key`: the name of an argument, or a function of (arguments by name, result).
    - `ignore`: names of arguments that are not logged. Neither are the key's argument, `self` and `cls`.
    - `version`, `tags`: as in `log_record`.
    - `client`: the client that logs; by default the one of the module's functions.

    The function behaves as before: its exceptions pass through. If logging fails, that is a counted drop; with
    `strict=True` it raises InvalidEvent. Raises ConfigurationError if the function has no argument of that name, and
    for a generator: only its author knows when a stream is complete, and whether it fits into an event.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{function.__qualname__} yields its result, which instrument cannot log; collect what it yields,"
                " and at its end call joinback.log_record(…, outputs=…)"
            )
        signature = inspect.signature(function)
        if isinstance(join_key, str) and join_key not in signature.parameters:
            known = ", ".join(signature.parameters) or "none"
            raise ConfigurationError(f"{function.__qualname__} has no argument {join_key!r}; its arguments: {known}")
        hidden = {"self", "cls", *ignore} | ({join_key} if isinstance(join_key, str) else set())

        def log(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            logging_client = client or _default_client()
            try:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                arguments = bound.arguments
                key = arguments[join_key] if isinstance(join_key, str) else join_key(dict(arguments), result)
                if key is None:
                    raise ValueError("it is None")
            except Exception as error:
                refusal = NotLogged("invalid", f"no join key for {function.__qualname__}: {words_of(error)}")
                logging_client._funnel.drop(refusal, application)
                return
            inputs = {name: value for name, value in arguments.items() if name not in hidden}
            logging_client.log_record(
                application, inputs=inputs, outputs=result, join_key=key, version=version, tags=tags
            )

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def logged_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                result = await function(*args, **kwargs)
                log(args, kwargs, result)
                return result

            return cast(Callable[P, R], logged_async)

        @functools.wraps(function)
        def logged(*args: P.args, **kwargs: P.kwargs) -> R:
            result = function(*args, **kwargs)
            log(args, kwargs, result)
            return result

        return logged

    return decorate


def _default_client() -> "Client":
    from . import default_client

    return default_client
