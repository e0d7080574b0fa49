"""`joinback worker`: run the worker, or check whether one is alive."""

import socket
import sys
from functools import partial

import click
from redis.asyncio import Redis

from joinback.settings import Settings, settings_from
from joinback_worker.notes.heartbeat import TTL_S, redis_time, workers
from joinback_worker.operating.judging_workers import hangs, hangs_for_s
from joinback_worker.operating.spans import span

from .metrics import exposition
from .names import warn_of_unknown
from .show import printable, warn_of_path
from .with_redis import with_redis


@click.command(short_help="Drain every JOINBACK_INTERVAL_S seconds, until SIGTERM.")
@click.option("--application", "only", multiple=True, metavar="NAME", help="Only this application (repeatable).")
@click.option("--check", is_flag=True, help="Check whether a worker on this host is alive, and exit.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Serve metrics for Prometheus at this port.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to serve them at.")
def worker(only: tuple[str, ...], check: bool, metrics_port: int | None, metrics_host: str) -> None:
    """Drain every JOINBACK_INTERVAL_S seconds until SIGTERM. It survives outages of Redis and of the sink.

    With --check: exit code 0 if a worker on this host is alive, 1 if none is, 2 if Redis cannot be asked.
    """
    settings = settings_from()
    if not check:
        warn_of_path(settings.sink_url)
        warn_of_unknown(settings, only, "This worker")
        if metrics_port is not None:
            exposition().serve(settings, metrics_host, metrics_port)
        # Imported only here: a probe runs every few seconds, and need not load arq.
        from joinback_worker.main import run

        run(settings, only)
        return
    alive, line = with_redis(settings, partial(_probe, settings))
    click.echo(printable(line, markup=False))
    sys.exit(0 if alive else 1)


async def _probe(settings: Settings, redis: Redis) -> tuple[bool, str]:
    """Return whether a worker on this host is alive, and a line about it."""
    host = socket.gethostname()
    now = await redis_time(redis)
    mine = [sign for sign in await workers(redis) if sign.host == host]
    if not mine:
        return False, f"no worker on {host} has given a sign of life for {TTL_S:.0f} s; start one: joinback worker"
    hung = {sign.name: age_s for sign in mine if (age_s := hangs_for_s(sign, now, settings.interval_s)) is not None}
    if len(hung) == len(mine):
        name, age_s = min(hung.items(), key=lambda item: item[1])
        return False, f"{hangs(name, age_s)}; restart it"
    sign = max((sign for sign in mine if sign.name not in hung), key=lambda sign: sign.progress_at or now)
    words = [f"worker {sign.name} is alive (version {sign.version})", f"sink {sign.sink}"]
    if sign.last_drain_at and sign.next_drain_at:
        last = "last try" if sign.trouble else "last drain"
        words.append(f"{last} {span((now - sign.last_drain_at).total_seconds())} ago")
        words.append(f"next in {span((sign.next_drain_at - now).total_seconds())}")
    if sign.trouble:
        words.append(sign.trouble)
    return True, "; ".join(words)
