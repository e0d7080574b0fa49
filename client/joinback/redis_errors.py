"""What an error of Redis means, in one line that names the fix.

By Redis's own error code, the first word of its answer, and by the forms of answer known here. Its other words
are shown only of what it said at connecting, before it was sent anything of a caller's; those of a later answer
may quote the command, and with it somebody's data.
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
# What may be shown of any answer: these hold names of commands, and nothing that a caller gave.
_SHOWN = re.compile(
    r"max number of clients reached|max (?:daily )?request limit exceeded|max request size exceeded"
    r"|max concurrent connections exceeded|unknown (?:sub)?command ['`]?[A-Za-z_|-]{1,20}"
    r"|no permissions to run the '[a-z_|-]{1,30}' command|[Nn]o permissions to access (?:a key|one of the keys)"
    r"|upstream failure|no upstream host|Protocol error"
)
_WORDS_MAX = 120
"""A line; what a proxy adds may be a page."""

SERVER_WIDE = frozenset(
    {
        # It is full, or its disk is; somebody or the worker makes room.
        "OOM",
        "MISCONF",
        # It is a replica, starts, or fails over.
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",
        "CLUSTERDOWN",
        # It runs a script of somebody's, or ended ours.
        "BUSY",
        "UNBLOCKED",
        # The login was changed on one side first.
        "NOAUTH",
        "WRONGPASS",
        "MAXCLIENTS",
        "LIMIT",
        "DENIED",
    }
)
"""Trouble of the server, whatever it was asked; any other refusal may be about one application's keys."""
OF_KEYS = frozenset({"WRONGTYPE", "CROSSSLOT", "NOPERM"})
"""About the keys of one application, or this login's rights: another connection would hear the same."""

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
    "WRONGTYPE": "a key of Joinback holds another type; find it with TYPE among joinback:applications, joinback:sink,"
    " joinback:workers, joinback:drops and joinback:{...}:pending, :stats, :dead, :history, and rename it",
    "MAXCLIENTS": "Redis has no connection to give; raise its maxclients, or close what is idle",
    "LIMIT": "a limit of this Redis's plan or proxy is reached; raise it, or wait until it is counted anew",
    "UNKNOWN": "this server lacks a command that Joinback needs: is it a Sentinel, a proxy, or was it renamed?",
    "DATABASE": "this Redis has no database of that number; mend the end of JOINBACK_REDIS_URL, such as /0",
    "SENTINEL": "this is a Sentinel and holds no data; point JOINBACK_REDIS_URL at the primary it watches",
    "DENIED": "Redis is in protected mode and takes strangers from its own host only; give it a password",
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
    """Redis answered a command with an error. Shows its code alone.

    `at_connect`: before it was sent anything of a caller's, so that its words may be shown. `at_login`: to AUTH
    or SELECT. `of_node`: one node of a cluster said it, which speaks for its own keys only.
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
        """Whether any other command to the same server would have fared the same."""
        return self.at_connect or self.code in SERVER_WIDE

    @property
    def is_server_wide(self) -> bool:
        """Whether any other command would have fared the same."""
        return self.is_of_server and not self.of_node


class Unreachable(ConnectionError):
    """No connection, for a reason that is known: the message says it, and the fix."""


class NodeDown(Unreachable):
    """One node of a cluster does not answer; the keys of the others can be written meanwhile."""


class BrokenReply(ConnectionError):
    """The answer is none to what was asked, so nothing that follows on this connection can be trusted."""


def code_of(text: str) -> str:
    """Redis's error code, or the kind of a known form of answer; ERR if there is neither."""
    for form, kind in _FORMS:
        if (match := form.search(text)) is not None:
            return kind or match.group(1)
    code = _CODE.match(text)
    return code.group() if code is not None else "ERR"


def words_of(text: str, *, whole: bool = False) -> str:
    """Return what may be shown of an answer; `whole`, if it was to a command that held nothing of a caller's."""
    if whole:
        # What follows quotes the command, which may have been the login.
        text = text.partition(", with args")[0].removeprefix("ERR ")
        return "".join(c if c.isprintable() else " " for c in text)[:_WORDS_MAX]
    shown = _SHOWN.search(text)
    return shown.group() if shown is not None else ""


def advice(error: RedisRefusal | OSError, where: str = "") -> str:
    """One line that names the fix. `where` is the server's address, without any secret."""
    if isinstance(error, RedisRefusal):
        return refusal_advice(error)
    if isinstance(error, Unreachable):
        return str(error)
    # By its name: ssl is imported only where it is used.
    if type(error).__name__ == "SSLCertVerificationError":
        return _CERTIFICATE
    if isinstance(error, TimeoutError):
        return NO_ANSWER.replace("Redis", f"Redis at {where}", 1) if where else NO_ANSWER
    # The system's words, such as "Connection refused", or the resolver's.
    why = f" ({error.strerror})" if error.strerror else ""
    return NO_CONNECTION.replace("Redis", f"Redis at {where}{why}", 1) if where else NO_CONNECTION


def refusal_advice(error: RedisRefusal) -> str:
    """The same, of an answer, with Redis's own words where they may be shown."""
    # A login is refused for other reasons too, which have a name of their own.
    what = _LOGIN if error.at_login and error.code not in _ADVICE else advice_on(error.code)
    return f"{what} (Redis says: {error.words})" if error.words else what


def advice_on(code: str) -> str:
    """The same, of an error code alone."""
    return _ADVICE.get(code, f"Redis answered {code}; its own log may say why")
