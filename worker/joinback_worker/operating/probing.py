"""Send a test record the whole way: write it into Redis as a client does, drain it into the sink, and read it back."""

import secrets
from contextlib import suppress
from datetime import UTC, datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from joinback import wire
from joinback.errors import JoinbackError
from joinback.settings import Settings
from joinback_worker.config.rules_file import policy_of
from joinback_worker.connection.redis_errors import advice
from joinback_worker.drain.cycle import drain
from joinback_worker.drain.source import Source
from joinback_worker.sinks import open_sink, shown

from .diagnosis import Tried, problem, well
from .tried_rights import TRIAL_TTL_S

APPLICATION = "joinback-probe"
"""It is never announced, so no worker drains it and `joinback status` does not show it."""


async def probe(redis: Redis, settings: Settings) -> Tried:
    """Return whether a test record reaches the sink. It leaves one row per day, of the application `joinback-probe`."""
    at = datetime.now(UTC)
    key, event_id = f"probe-{at:%Y-%m-%d}", f"probe-{secrets.token_hex(6)}"
    # Each probe has its own tag, so two at once do not meet.
    tag = f"{wire.tag(APPLICATION)}/{event_id}"
    keys = wire.write_keys(tag, [key])
    event = wire.encode(wire.Feedback(v=wire.PLAIN_VERSION, at=at, logged_at=at, feedback={"probe": event_id}))
    try:
        arguments = wire.write_arguments(tag, TRIAL_TTL_S, [(f"feedback:{event_id}", event)])
        await redis.execute_command("EVAL", wire.WRITE_SCRIPT, len(keys), *keys, *arguments)
        async with open_sink(settings.sink_url, policy_of(settings, APPLICATION, at)) as sink:
            drained = await drain(Source(redis, tag), sink, APPLICATION)
            row = (await sink.get(APPLICATION, [key])).get(key)
    except RedisError as error:
        return _failed(f"did not pass Redis: {advice(error)}")
    except JoinbackError as error:
        return _failed(f"did not come out of the sink: {error}")
    finally:
        # What refused the record may refuse this too, and the TTL ends what was written.
        with suppress(ResponseError):
            await redis.execute_command("DEL", *keys, *wire.keys_of(tag))
    if drained.error is not None or row is None or event_id.encode() not in (row.feedback_events or b""):
        why = drained.error or "the sink does not return it"
        return _failed(f"did not come out of the sink: {why}")
    where = shown(settings.sink_url)
    return well("probe", f"a test record went into Redis and came out of {where}, as {key} of {APPLICATION}")


def _failed(why: str) -> Tried:
    return problem("probe", "probe_failed", f"the test record {why}", "see the lines above")
