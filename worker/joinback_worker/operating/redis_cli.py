"""The redis-cli line that connects to the Redis of a URL. It holds no password: redis-cli reads REDISCLI_AUTH."""

import shlex

from joinback.redis_url import RedisUrl, redis_url
from joinback.settings import Settings


def redis_cli(text: str, *, raw: bool = False, has_login: bool = True) -> str:
    """Return redis-cli with the options that connect to this Redis. A command is to follow.

    For a cluster it has -c, which follows a key to its node. For Sentinels it first asks one for the primary.
    Without `raw`, redis-cli escapes every quote of JSON. `has_login`: whether the user of the URL is to run it.
    """
    url = redis_url(text, "the Redis URL")
    words = ["redis-cli", "--raw"] if raw else ["redis-cli"]
    if url.kind == "cluster":
        words.append("-c")
    if url.kind != "sentinel":
        words += _place(url)
    words += _tls(url)
    if url.username and has_login:
        words += ["--user", url.username]
    if url.database:
        words += ["-n", str(url.database)]
    line = shlex.join(words)
    return f"{line} {_by_sentinel(url)}" if url.kind == "sentinel" else line


def redis_fix(settings: Settings, command: str, *, then: str = "") -> str:
    """Return the line that runs this command in this Redis, what to do `then`, and how to give redis-cli a password."""
    hint = redis_password_hint(settings)
    return f"{redis_cli(settings.redis_url)} {command}{then}" + (f"; {hint}" if hint else "")


def config_fix(settings: Settings, option: str, value: str) -> str:
    """Return the line that sets an option of this Redis now, and how to keep it: CONFIG SET ends with the process."""
    each = "; the same on each server" if redis_url(settings.redis_url, "the Redis URL").kind == "cluster" else ""
    then = f"{each}; then CONFIG REWRITE, or put it into redis.conf"
    return redis_fix(settings, f"CONFIG SET {option} {value}", then=then)


def redis_password_hint(settings: Settings) -> str | None:
    """Return how to give redis-cli the password; None if there is none."""
    if settings.redis_credentials is not None:
        return "give redis-cli what JOINBACK_REDIS_CREDENTIALS returns: the user by --user, the rest by REDISCLI_AUTH"
    if redis_url(settings.redis_url, "the Redis URL").password is None:
        return None
    return "redis-cli takes the password from REDISCLI_AUTH: read -rs REDISCLI_AUTH; export REDISCLI_AUTH"


def _place(url: RedisUrl) -> list[str]:
    if url.path is not None:
        return ["-s", url.path]
    host, port = url.nodes[0]
    return ([] if host == "localhost" else ["-h", host]) + ([] if port == 6379 else ["-p", str(port)])


def _tls(url: RedisUrl) -> list[str]:
    if url.tls is None:
        return []
    files = {"--cacert": "ssl_ca_certs", "--cert": "ssl_certfile", "--key": "ssl_keyfile"}
    given = ((option, url.tls.get(name)) for option, name in files.items())
    return ["--tls", *(part for option, path in given if path for part in (option, str(path)))]


def _by_sentinel(url: RedisUrl) -> str:
    """Return the shell expression that becomes -h and -p of the primary."""
    host, port = url.nodes[0]
    words = ["redis-cli", "-h", host, "-p", str(port), *_tls(url)]
    if url.sentinel_username:
        words += ["--user", url.sentinel_username]
    asked = shlex.join([*words, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", str(url.service)])
    return f"$({asked} | xargs printf -- '-h %s -p %s')"
