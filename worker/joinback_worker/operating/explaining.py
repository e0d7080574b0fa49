"""What became of one join key: a verdict in one sentence, then the evidence, ordered by time."""

from contextlib import AsyncExitStack, suppress
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from joinback import wire
from joinback.errors import JoinbackError
from joinback.sampling import keeps
from joinback.sampling import verdict as sample_verdict
from joinback.settings import Settings
from joinback_worker.answers.coverage import coverage
from joinback_worker.config.rules_file import policy_of
from joinback_worker.errors import AlteredRow, SinkMissing, WorkerError
from joinback_worker.flat.known import age_s
from joinback_worker.labels.lookup import Lookup
from joinback_worker.law.record_hash import ReadHash, read_hash
from joinback_worker.law.row import Row, project, unfold
from joinback_worker.notes.guard import refusal
from joinback_worker.notes.heartbeat import redis_time, workers
from joinback_worker.notes.last_drains import Drains, last_drains
from joinback_worker.notes.layouts import Layout, applications, layouts
from joinback_worker.notes.tombstones import erased_until
from joinback_worker.sinks import Sink, open_sink, shown

from .evidence import leaves_out_rows, look_under
from .explanation import Coverage, Explanation, Near
from .judging_workers import why_refused
from .near_application import near_application, predicted_in
from .near_keys import near_keys
from .overview import drops_of_day
from .redacted import redacted
from .shell_lines import shell_lines
from .timeline import timeline
from .verdict import Around, verdict


async def explain(redis: Redis, settings: Settings, application: str, join_key: str) -> Explanation:
    """Return what became of this key, from what Redis and the sink hold. Changes nothing.

    Raises what Redis raises, and ConfigurationError. If the sink cannot be read, the explanation says so.
    """
    known = await layouts(redis)
    layout = known.get(application, Layout())
    now = await redis_time(redis)
    found = Explanation(application=application, join_key=join_key, at=now, sink=shown(settings.sink_url))
    found.tags = layout.tags_of(application, join_key)
    rate = (await applications(redis)).get(application, wire.Application()).sample_rate
    if rate not in (None, wire.UNSAMPLED):
        found.sample = sample_verdict(application, join_key, rate)
    for tag in found.tags:
        await look_under(redis, tag, found)
    # Something else may stand at the key of the tombstones, which `joinback status` and each drain report.
    with suppress(ResponseError):
        found.erased_until = await erased_until(redis, application, join_key, now)
    found.sink_elsewhere = await refusal(redis, settings, application)
    async with AsyncExitStack() as stack:
        sink = await _opened(stack, settings, application, now, found)
        await _look_in_sink(sink, found)
        folded = read_hash(application, join_key, ((field, text.encode()) for field, text in found.events.items()))
        row = found.row or _row_of(folded, settings, now)
        is_unmatched = not found.is_known if row is None else row.status == "orphan"
        if is_unmatched:
            await _add_near(Lookup(redis, sink, application, layout), found)
            meant = await near_application(redis, application, known)
            if meant and await predicted_in(redis, settings, meant, known[meant], [join_key]):
                found.near = [
                    Near(join_key=join_key, application=meant, how=f"of the application {meant}"),
                    *found.near,
                ]
    if found.are_digests:
        found.sample = None  # of the stored key, which nobody named
    prediction_age_s = None if row is None else age_s(row, now)
    if row is not None and row.status == "predicted" and prediction_age_s is not None and not found.pending:
        found.coverage = await _coverage(settings, found, prediction_age_s)
    living = [one for one in await workers(redis) if not one.applications or application in one.applications]
    noted = await last_drains(redis)
    drains = noted.get(application, Drains())
    missing = _missing(found, folded, settings)
    if missing and (row is None or row.status != "joined"):
        keeps_all = settings.emit != "joined" and not await leaves_out_rows(redis, found.tags)
        missing = missing if keeps_all else set()
    around = Around(
        workers=living,
        last_drain_at=drains.done.at if drains.done else None,
        last_drain_error=drains.failed.error if drains.failed else why_refused(application, living, noted),
        row=row,
        has_newer=bool(folded.newer),
        is_sampled_out=rate is not None and not keeps(application, join_key, rate),
        drops=[one for one in await drops_of_day(redis, now) if one.application == application],
        sink_keeps=not settings.sink_url.startswith("stdout:"),
        labels=policy_of(settings, application, now).rules.labels,
        missing=missing,
    )
    found.timeline = timeline(found)
    found.redacted = redacted(found.timeline)
    found.verdict, found.says = verdict(found, around)
    found.by_hand = list(shell_lines(settings, application, join_key, found.tags))
    return found


async def _opened(
    stack: AsyncExitStack, settings: Settings, application: str, now: datetime, found: Explanation
) -> Sink | None:
    try:
        policy = policy_of(settings, application, now)
        return await stack.enter_async_context(open_sink(settings.sink_url, policy, read_only=True))
    except SinkMissing as error:
        found.sink_missing = str(error)
    except WorkerError as error:
        found.sink_trouble = str(error)
    return None


def _missing(found: Explanation, folded: ReadHash, settings: Settings) -> set[str]:
    """Return the events of the record in Redis that the sink should have by now and has not.

    None are known to be missing if the sink could not be read, or if it is another than that of the rows.
    """
    if found.sink_trouble or found.sink_elsewhere or settings.sink_url.startswith("stdout:"):
        return set()
    try:
        held = set() if found.row is None else unfold(found.row).fields
    except AlteredRow:
        return set()
    return folded.record.fields - held


async def _look_in_sink(sink: Sink | None, found: Explanation) -> None:
    if sink is not None:
        try:
            found.row = (await sink.get(found.application, [found.join_key])).get(found.join_key)
        except WorkerError as error:
            found.sink_trouble = str(error)


def _row_of(folded: ReadHash, settings: Settings, now: datetime) -> Row | None:
    """Return the row that the record in Redis would make by itself; None if it has no events."""
    record = folded.record
    return project(record, policy_of(settings, record.application, now))[0] if record.has_events else None


async def _add_near(lookup: Lookup, found: Explanation) -> None:
    try:
        found.near, found.are_digests = await near_keys(lookup, found.join_key)
    except WorkerError as error:
        found.sink_trouble = found.sink_trouble or str(error)


async def _coverage(settings: Settings, found: Explanation, age_s: float) -> Coverage | None:
    """Return how many predictions of this age have a label; None if the sink cannot answer questions."""
    try:
        share, p90_s = await coverage(settings, found.application, age_s, found.at)
    except (JoinbackError, NotImplementedError):
        return None
    return Coverage(age_s=age_s, share=share, p90_s=p90_s)
