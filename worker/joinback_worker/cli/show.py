"""How the command shows text that came from elsewhere, and the redis-cli line that shows the same."""

from urllib.parse import unquote, urlsplit

from rich.markup import escape


def printable(text: str, *, markup: bool = True) -> str:
    """Safe for a terminal: control characters and direction marks are escaped, rich's markup is taken literally."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return escape(plain) if markup else plain


def redis_cli(redis_url: str) -> str:
    """redis-cli with the options that lead to this server; the password is left to REDISCLI_AUTH.

    --raw: without it, JSON is shown with every quote escaped.
    """
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return f"redis-cli --raw -s {unquote(parts.path)}"
    words = ["redis-cli", "--raw"]
    if parts.hostname not in (None, "localhost"):
        words.append(f"-h {parts.hostname}")
    if parts.port not in (None, 6379):
        words.append(f"-p {parts.port}")
    if parts.scheme == "rediss":
        words.append("--tls")
    if parts.username:
        words.append(f"--user {unquote(parts.username)}")
    database = parts.path.lstrip("/")
    if database not in ("", "0"):
        words.append(f"-n {database}")
    return " ".join(words)
