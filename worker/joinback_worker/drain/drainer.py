"""Rounds: one drain of each tag that has work, with all it needs, and its trouble put into words.

A round never raises for what one tag, the sink or Redis does: what cannot be drained now stays pending, and the
result says why.

The sink is opened for each drain: that costs milliseconds every five minutes, and a sink that was down, moved
or restarted in between needs no code of its own.
"""

import asyncio
import os
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import structlog
from redis.exceptions import RedisError, ResponseError

from joinback import wire
from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of, policy_of
from joinback_worker.connection.connect import AWAY, ask_each, connect
from joinback_worker.connection.redis_errors import advice
from joinback_worker.errors import SinkUnavailable, described
from joinback_worker.notes.fields_seen import FieldsSeen
from joinback_worker.notes.guard import guarded, refusal
from joinback_worker.notes.health import Health, publish_pause
from joinback_worker.notes.heartbeat import VERSION, redis_time
from joinback_worker.notes.last_drains import LastDrain, note_drains
from joinback_worker.notes.layouts import Layout, Watch, all_tags
from joinback_worker.notes.rules_in_use import note, rules_in_use
from joinback_worker.sinks import check_emit, open_sink, shown
from joinback_worker.sinks.schemes import writers_max

from .cycle import drain
from .drained import Drained
from .pace import Pace
from .source import Elsewhere, Source

log = structlog.get_logger("joinback")


class Drainer:
    """One worker's drains, tick after tick: its name in the consumer groups, and what it remembers of Redis."""

    def __init__(self, settings: Settings, only: Sequence[str] = ()) -> None:
        # What is wrong must fail here, not at the first tick.
        check_emit(open_sink(settings.sink_url), settings.emit)
        self._config = config_of(settings)
        self.settings = settings
        self.only = only
        self.sink = shown(settings.sink_url)
        self.redis = connect(settings)
        self._health = Health()
        self._paces: defaultdict[str, Pace] = defaultdict(Pace)
        self._fields: dict[str, FieldsSeen] = {}
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._knows_applications = True
        self._layouts: Mapping[str, Layout] = {}
        self._watch = Watch()
        self._noted_at: datetime | None = None
        """When this worker noted its rules last."""
        self.evictions_at: datetime | None = None
        """When it last saw Redis evict keys."""

    async def round(self, tag_budget_s: float) -> Drained:
        """Drain each tag that has work once, a few at a time. `unfinished`: a budget was spent, so go on with a next.

        Never raises, but when it is cancelled; then it has given up its claims.
        """
        started = time.monotonic()
        try:
            now = await redis_time(self.redis)
            conditions = await self._health.look(self.redis)
            if "evictions" in conditions:
                self.evictions_at = now
            paused = "memory_high" in conditions
            # The server that holds the sign may be away alone; then it ends by itself.
            with suppress(*AWAY):
                await publish_pause(self.redis, paused=paused, interval_s=self.settings.interval_s)
            self._layouts = await self._watch.look(self.redis, now)
            known = self._known()
            allowed, refused = await guarded(self.redis, self.settings, known, self.only)
            await self._note_rules({application for application, _ in allowed}, now)
            work, away = await self._with_work(allowed)
        except (RedisError, OSError) as error:
            return Drained(error=advice(error), redis_lost=True)
        except Exception as error:
            return Drained(error=described(error))
        total = Drained(error=refused or away, redis_lost=away is not None)
        gate = asyncio.Semaphore(writers_max(self.settings.sink_url))
        failed: dict[str, tuple[str, bool]] = {}

        async def drain_one(application: str, tag: str) -> None:
            async with gate:
                drained = await self._drain(application, tag, now, conditions, tag_budget_s)
            if drained.error is not None:
                failed[application] = drained.error, drained.sink_lost
            # Not `+= await`: that reads the sum before the drain, and forgets what others added meanwhile.
            total.include(drained)

        async with asyncio.TaskGroup() as group:
            for application, tag in work:
                group.create_task(drain_one(application, tag))
        # Of a server that is away nobody knows whether anything waits there.
        done = {application for application, _ in (work if away else allowed)} - failed.keys()
        await self._note_drains(done, failed, now, time.monotonic() - started)
        return total

    async def aclose(self) -> None:
        await self.redis.aclose()

    def _known(self) -> list[tuple[str, str]]:
        """Return every (application, tag); that there is none is told once."""
        known = all_tags(self._layouts, self.only)
        if bool(known) != self._knows_applications:
            self._knows_applications = bool(known)
            if not known:
                log.info("no_application_yet", hint="the first event of a client announces its application in Redis")
        return known

    async def _with_work(self, known: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], str | None]:
        """Return those with something pending, or predictions that mature; the others cost a length each.

        And the trouble of a server that is away: its tags must not hold up the others.
        """
        lengths = await ask_each(self.redis, [("XLEN", wire.pending_key(tag)) for _, tag in known])
        work, away = [], None
        for (application, tag), length in zip(known, lengths, strict=True):
            if isinstance(length, AWAY):
                away = advice(length)
            # Another error, such as a wrong type at the key, is for the drain to tell.
            elif length or self._closes(application):
                work.append((application, tag))
        return work, away

    def _elsewhere(self, application: str, tag: str, now: datetime) -> Elsewhere | None:
        """Return where else a record may be, if the application has or had shards not long ago."""
        layout = self._layouts[application]
        since = now - timedelta(seconds=self.settings.buffer_ttl_s)

        def tags_of(join_key: str) -> list[str]:
            return [other for other in layout.tags_of(application, join_key, since) if other != tag]

        return tags_of if layout.former else None

    async def _note_rules(self, applications: Iterable[str], now: datetime) -> None:
        """Note by which rules these are folded from now on, whether or not anything of theirs waits.

        The server that holds the notes may be away alone, or hold something else at their key: then nothing is noted.
        """
        rules = {application: self._config.rules_of(application) for application in applications}
        with suppress(*AWAY, ResponseError):
            uses = await rules_in_use(self.redis)
            refolds = open_sink(self.settings.sink_url).refolds
            await note(self.redis, rules, (self._name, now), uses, self._noted_at, refolds=refolds)
            self._noted_at = now

    async def _note_drains(
        self, done: Iterable[str], failed: Mapping[str, tuple[str, bool]], began_at: datetime, took_s: float
    ) -> None:
        """Note for whoever asks what became of these. Redis may be away by now: then a later round does."""
        ours = LastDrain(
            at=began_at + timedelta(seconds=took_s),
            worker=self._name,
            version=VERSION,
            sink=self.sink,
            interval_s=self.settings.interval_s,
            took_s=round(took_s, 3),
        )
        with suppress(*AWAY):
            await note_drains(self.redis, ours, done, failed)

    def _closes(self, application: str) -> bool:
        return self._config.rules_of(application).mature

    async def _drain(
        self, application: str, tag: str, now: datetime, conditions: dict[str, str], budget_s: float
    ) -> Drained:
        """One drain of one tag. Trouble with Redis, the sink or this tag's data is told in the result, and logged."""
        structlog.contextvars.bind_contextvars(sink=self.sink)
        try:
            policy = policy_of(self.settings, application, now)
            async with open_sink(self.settings.sink_url, policy) as sink:
                return await drain(
                    Source(self.redis, tag, elsewhere=self._elsewhere(application, tag, now)),
                    sink,
                    application,
                    emit_joined_only=self.settings.emit == "joined",
                    settled_ttl_s=self.settings.settled_ttl_s,
                    budget_s=budget_s,
                    conditions=conditions,
                    pace=self._paces[tag],
                    rules=policy.rules,
                    fields_seen=self._fields.setdefault(tag, FieldsSeen(policy.rules)),
                    # Before each merge: another sink may be adopted while a long drain goes on.
                    refusal=partial(refusal, self.redis, self.settings, application),
                )
        except SinkUnavailable as error:
            drained = Drained(error=str(error), sink_lost=True)
        except (RedisError, OSError) as error:
            drained = Drained(error=advice(error), redis_lost=True)
        except Exception as error:
            drained = Drained(error=described(error))
        log.warning("cycle_failed", application=application, tag=tag, why=drained.error)
        return drained


async def drain_all(settings: Settings, only: Sequence[str] = ()) -> Drained:
    """Drain what is pending now, and no more. Raises ConfigurationError for a wrong sink."""
    drainer = Drainer(settings, only)
    try:
        started = time.monotonic()
        drained = await drainer.round(tag_budget_s=float("inf"))
        # Not the sum of drains that ran at once.
        drained.duration_s = round(time.monotonic() - started, 3)
        return drained
    finally:
        await drainer.aclose()
