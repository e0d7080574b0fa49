r"""Rules for what must not leave the process, and the caller's own `before_send`::

    joinback.init(
        redact=[
            "inputs.ssn",
            Hash("inputs.email", key=os.environ["PSEUDONYM_KEY"]),
            Hash("join_key", key=os.environ["PSEUDONYM_KEY"]),
            Truncate("inputs.prompt", 200),
            Replace("outputs", r"\b(?:\d[ -]?){15}\d\b", "<card>", numbers=True),
        ],
        before_send=lambda event: None if event["application"] == "internal" else event,
    )

A path is `inputs`, `outputs`, `feedback` or `tags`, and the names below it, joined by dots. `*` stands for any name, or
for any item of an array. The path `join_key` is for `Hash` only: predictions and feedback are then stored, sampled and
joined under the pseudonym, while calls take and return the caller's own key.

A path that leads nowhere hides nothing. A rule that found nothing in a hundred events is logged once, and `preview`
shows what would leave. Truncate and Replace change text. They change no numbers, unless Replace has `numbers=True`, and
never the names in a dict: use Drop or `before_send` for those.

The rules run in order, then `before_send`, on a copy, before the event is buffered. If one of them raises, the event is
dropped as `hook_failed`: nothing leaves unredacted.

`before_send` gets a dict: `kind`, `application`, `join_key`, `event_id`, `version`, `environment`, and those of
`inputs`, `outputs`, `feedback` and `tags` that the event has. It returns the dict, or None to drop the event as
`filtered`. A part missing from the result is unchanged; a part that is None is removed. The event is also dropped as
`hook_failed` if the result has another `kind`, `application`, `join_key` or `event_id`, or an unknown name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from . import log
from ._delivery import Funnel
from .client import Client
from .hooks import BeforeSend, Hooks
from .options import Options
from .redaction_rules import Drop, Hash, Replace, Rule, Truncate
from .testing import Event, capture

__all__ = ["BeforeSend", "Drop", "Hash", "Replace", "Rule", "Truncate", "preview"]


def preview(
    record: Mapping[str, Any], *, redact: Iterable[str | Rule] = (), before_send: BeforeSend | None = None
) -> list[Event]:
    """Return the events that one call would send, as `joinback.testing.capture` shows them. Sends nothing.

    `record` holds the arguments of `log_record`: `{"inputs": …, "outputs": …}`; `application` may be left out. Logs
    each rule that finds nothing in it. Raises InvalidEvent for a record that cannot be logged, and ConfigurationError
    for a wrong rule.
    """
    client, hooks = Client(), Hooks(redact, before_send)
    client._funnel = Funnel(Options(hooks=hooks))
    with capture(client) as captured:
        client.log_record(**{"application": "preview", **record})
    for path in hooks.unmatched():
        log.warning(f"joinback: redact: {path!r} finds nothing to hide in this record")
    return captured
