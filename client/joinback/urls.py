"""The one function that makes a URL fit to be shown, so that no output shows a password."""

from urllib.parse import unquote

_HIDDEN = "…"
_PLACES = frozenset({"host", "hostaddr", "port", "dbname", "db"})
"""Options that name a place. They are shown: without them two places would look the same."""


def shown_url(url: str) -> str:
    """Return the URL as a log line or a terminal may show it: without passwords, tokens and most options' values.

    A user name is shown if a password follows it; alone before an `@` it may be a token. Everything up to the last `@`
    counts as login, because a password that nobody encoded may hold `@`, `/`, `?` or `#`. So too much may be hidden,
    but never too little. Control characters are escaped.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        # Such as `stdout:`. Any other text may be a secret, so only what stands before the colon is shown.
        scheme, separator, rest = url.partition(":")
        return f"{_plain(scheme)}:" if separator else _HIDDEN
    login, at, place = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    place, question, query = place.partition("?")
    names = [_option(*option.partition("=")) for option in query.split("&") if option]
    options = question + "&".join(names)
    shown_login = f"{user}:{_HIDDEN}@" if colon and user else f"{_HIDDEN}@" if at else ""
    return _plain(f"{scheme}://{shown_login}{unquote(place.partition('#')[0])}{options}")


def _option(name: str, _: str, value: str) -> str:
    return f"{name}={value if name in _PLACES else _HIDDEN}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
