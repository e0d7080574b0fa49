"""What an error of Redis means, in one line that names the fix.

An error is recognised by Redis's error code, the first word of its answer, or by the forms of answer listed here. The
whole answer is shown only if Redis gave it at connecting, before it was sent any data. A later answer may quote the
command, and so somebody's data.
"""

import re

_FORMS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(form), kind)
    for form, kind in (
        (r"max number of clients", "MAXCLIENTS"),
        (r"max .{0,40}(?:limit|connections|size) exceeded", "LIMIT"),
        (r"unknown (?:sub)?command", "UNKNOWN"),
        (r"(?:invalid )?DB index|SELECT is not allowed", "DATABASE"),
        (r"[Nn]o permissions to|can't run this command or subcommand|ACL failure in script", "NOPERM"),
        # Redis 6 wraps a script's error: "Error running script (…): @user_script: 30: -OOM command …".
        (r"@user_script: ?\d+: -(OOM|READONLY|MISCONF|NOREPLICAS|WRONGTYPE) ", ""),
    )
)
_CODE = re.compile(r"[A-Z]{2,20}(?= |$)")
# Parts that may be shown of any answer: they hold names of commands, but no data.
_SHOWN = re.compile(
    r"max number of clients reached|max (?:daily )?request limit exceeded|max request size exceeded"
    r"|max concurrent connections exceeded|unknown (?:sub)?command ['`]?[A-Za-z_|-]{1,20}"
    r"|no permissions to run the '[a-z_|-]{1,30}' command|[Nn]o permissions to access (?:a key|one of the keys)"
    r"|upstream failure|no upstream host|Protocol error"
)
_WORDS_MAX = 120
"""One line; a proxy may answer with a page."""

SERVER_WIDE = frozenset(
    {
        # It is full, or its disk is; the worker or a person makes room.
        "OOM",
        "MISCONF",
        # It is a replica, is starting, or fails over.
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",
        "CLUSTERDOWN",
        # It runs somebody else's script, or ended ours.
        "BUSY",
        "UNBLOCKED",
        # The login was changed on one side, and not yet on the other.
        "NOAUTH",
        "WRONGPASS",
        "MAXCLIENTS",
        "LIMIT",
        "DENIED",
    }
)
"""Codes of trouble with the server, whatever the command. Any other code may be about one application's keys."""
OF_KEYS = frozenset({"WRONGTYPE", "CROSSSLOT", "NOPERM"})
"""Codes about the keys of one application, or this login's rights. A new connection would get the same answer."""

_LOGIN = (
    "Redis refused the login; check user, password and database in JOINBACK_REDIS_URL,"
    " or what the callable for its credentials returns"
)
_ADVICE = {
    "NOAUTH": _LOGIN,
    "WRONGPASS": _LOGIN,
    "MOVED": "this is one node of a Redis Cluster; write redis+cluster:// instead of redis:// in JOINBACK_REDIS_URL",
    "NOPERM": "the Redis user lacks a right; docs/how-to/redis.md has the rights that client and worker need",
    "OOM": "Redis is at maxmemory; give it more, or let the worker drain it",
    "READONLY": "this Redis is a read-only replica; point JOINBACK_REDIS_URL at the primary",
    "WRONGTYPE": "a key of Joinback holds another type; rename it: joinback status names it, or TYPE of"
    " joinback:applications, :layouts, :rules, :workers, :drains, :sink, :drops, and of joinback:{...}:pending, :stats,"
    " :dead, :history, :fields, :erased",
    "MAXCLIENTS": "Redis has no connection to give; raise its maxclients, or close what is idle",
    "LIMIT": "a limit of this Redis's plan or proxy is reached; raise it, or wait until its count starts anew",
    "UNKNOWN": "this server lacks a command that Joinback needs: is it a Sentinel, a proxy, or was it renamed?",
    "DATABASE": "this Redis has no database of that number; mend the end of JOINBACK_REDIS_URL, such as /0",
    "SENTINEL": "this is a Sentinel and holds no data; point JOINBACK_REDIS_URL at the primary it watches",
    "DENIED": "Redis is in protected mode: without a password it serves its own host only; give it a password",
    "CROSSSLOT": "a proxy or cluster cannot run a script over one application's keys; point at a node itself",
    "MISCONF": "Redis cannot write to its disk and so takes no writes; make room there, and see its log",
    "LOADING": "Redis has started and reads its data; it will answer when it has",
    "BUSY": "Redis runs somebody's endless script; SCRIPT KILL ends it",
    "CLUSTERDOWN": "the Redis Cluster is down; see CLUSTER INFO",
    "MASTERDOWN": "this Redis is a replica that has lost its primary; point JOINBACK_REDIS_URL at a primary",
    "NOREPLICAS": "Redis has fewer replicas than min-replicas-to-write asks for; start them",
    "ASK": "the Redis Cluster moves this key to another node; it passes when the move ends",
    "TRYAGAIN": "the Redis Cluster moves this key to another node; it passes when the move ends",
    "EXECABORT": "a proxy in front of Redis wraps commands in MULTI; Joinback needs them as they are",
}
_CERTIFICATE = (
    "Redis's certificate is of no authority known here, or for another host; see docs/how-to/redis.md on rediss://"
)
NO_ANSWER = "Redis did not answer in time; check the server, and JOINBACK_REDIS_URL"
NO_CONNECTION = "no connection to Redis; check that it runs and that JOINBACK_REDIS_URL points at it"


class RedisRefusal(Exception):
    """Redis answered a command with an error. Its text is the error code alone.

    - `at_connect`: it answered before it was sent any data, so its words may be shown.
    - `at_login`: it answered the login, AUTH or SELECT.
    - `of_node`: one node of a cluster answered, so it is about the keys of that node only.
    """

    of_node = False

    def __init__(self, text: str, *, at_connect: bool = False, at_login: bool = False) -> None:
        self.code = code_of(text)
        self.at_connect = at_connect
        self.at_login = at_login
        words = words_of(text, whole=at_connect)
        self.words = words if words != self.code else ""
        super().__init__(self.code)

    @property
    def is_of_server(self) -> bool:
        """Whether any other command to the same server would get the same answer."""
        return self.at_connect or self.code in SERVER_WIDE

    @property
    def is_server_wide(self) -> bool:
        """Whether any other command would get the same answer."""
        return self.is_of_server and not self.of_node


class Unreachable(ConnectionError):
    """There is no connection, for a known reason. The message names the reason and the fix."""


class NodeDown(Unreachable):
    """One node of a cluster does not answer. The keys of the other nodes can still be written."""


class BrokenReply(ConnectionError):
    """The reply is not an answer to the command, so nothing that follows on this connection can be trusted."""


def code_of(text: str) -> str:
    """Return Redis's error code, or the code of a known form of answer; ERR for any other."""
    for form, kind in _FORMS:
        if (match := form.search(text)) is not None:
            return kind or match.group(1)
    code = _CODE.match(text)
    return code.group() if code is not None else "ERR"


def words_of(text: str, *, whole: bool = False) -> str:
    """Return what may be shown of an answer; with `whole`, for a command without data, all but the quoted command."""
    if whole:
        # The rest quotes the command, which may be the login.
        text = text.partition(", with args")[0].removeprefix("ERR ")
        return "".join(c if c.isprintable() else " " for c in text)[:_WORDS_MAX]
    shown = _SHOWN.search(text)
    return shown.group() if shown is not None else ""


def advice(error: RedisRefusal | OSError, where: str = "") -> str:
    """Return one line that names the fix. `where` is the server's address, without any secret."""
    if isinstance(error, RedisRefusal):
        return refusal_advice(error)
    if isinstance(error, Unreachable):
        return str(error)
    # By its name, because ssl is imported only where it is used.
    if type(error).__name__ == "SSLCertVerificationError":
        return _CERTIFICATE
    if isinstance(error, TimeoutError):
        return NO_ANSWER.replace("Redis", f"Redis at {where}", 1) if where else NO_ANSWER
    # The words of the system or the resolver, such as "Connection refused".
    why = f" ({error.strerror})" if error.strerror else ""
    return NO_CONNECTION.replace("Redis", f"Redis at {where}{why}", 1) if where else NO_CONNECTION


def refusal_advice(error: RedisRefusal) -> str:
    """Return the same for an answer, with Redis's own words where they may be shown."""
    # A login that fails for another reason has a code of its own.
    what = _LOGIN if error.at_login and error.code not in _ADVICE else advice_on(error.code)
    return f"{what} (Redis says: {error.words})" if error.words else what


def advice_on(code: str) -> str:
    """Return the same for an error code alone."""
    return _ADVICE.get(code, f"Redis answered {code}; its own log may say why")
