"""One run of one contender: a fresh Valkey, a fresh database, a service that logs, a job that joins, and the meters."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
import redis
from alternatives_contenders import APPLICATION, HERE, PANDAS, STREAM, Contender
from alternatives_stream import KINDS, LAST_BEFORE_HORIZON, PHASES
from worker_processes import fresh_postgresql

from joinback import wire
from joinback_worker.embedded import embedded_valkey

ROOT = HERE.parent
TAG = wire.tag(APPLICATION)
KILLED_PHASE = 1
"""The job after this phase finds labels and the predictions of the phase before."""
LEASE_OVER_MS = 3_600_000


class Spent(NamedTuple):
    """What a process took: by the clock, of the processor, and the most memory that it held."""

    wall_s: float
    cpu_s: float
    memory_mb: float


class Killed(NamedTuple):
    """What it did to the rows that a job was killed once."""

    lost: int
    doubled: int


class Place:
    """Empty servers and an empty folder for one contender, until the stack closes."""

    def __init__(self, contender: Contender, stack: ExitStack) -> None:
        self._contender = contender
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="joinback-bench-")))
        redis_url = stack.enter_context(embedded_valkey())
        self._database_url = stack.enter_context(fresh_postgresql())
        self.redis = stack.enter_context(redis.Redis.from_url(redis_url))
        from postgres_server import shared_server

        self._postgres = psutil.Process(shared_server().pid)
        with psycopg.connect(self._database_url, autocommit=True) as admin:
            admin.execute("checkpoint")  # what the one before has written is not this one's work
        self.rows = str(self._folder / "records.db") if contender.sqlite else self._database_url
        sink_url = f"sqlite:///{self.rows}" if contender.sqlite else self._database_url
        paths = os.pathsep.join(map(str, (ROOT / "client", ROOT / "worker", HERE)))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JOINBACK_")}
        self.environment = clean | {"PYTHONPATH": paths, "TAIL": "0"}
        self.environment |= {"REDIS_URL": redis_url, "DATABASE_URL": self._database_url}
        self.environment |= {"JOINBACK_REDIS_URL": redis_url, "JOINBACK_SINK_URL": sink_url}
        if contender.package == STREAM.package:
            (self._folder / "recovery").mkdir()
            self.run(("-m", "bytewax.recovery", "recovery", "1"))

    def run(self, arguments: tuple[str, ...]) -> tuple[Spent, int]:
        """Run Python with these arguments to its end; return what it took and its exit code."""
        said = self._folder / "said"
        words = [str(HERE / word) if word.endswith(".py") else word for word in arguments]
        command = [sys.executable, "-S", str(HERE / "alternatives_timed.py"), str(said), *words]
        done = subprocess.run(command, env=self.environment, cwd=self._folder, stdout=subprocess.PIPE, text=True)
        code, *took = map(float, done.stdout.split())
        assert code in (0, -9), said.read_text()
        return Spent(*took), int(code)

    def join(self) -> Spent:
        assert self._contender.job is not None
        spent, code = self.run(self._contender.job)
        assert code == 0
        return spent

    def join_killed(self, when: str) -> None:
        """Run the job that is killed before or after it writes, and let what it had claimed be claimed again."""
        one = self._contender
        assert one.job is not None
        _, code = self.run(("alternatives_killed.py", when, one.dies_in, *one.job))
        assert code == -9, f"{one.name} was not killed"
        self._end_leases()

    def _end_leases(self) -> None:
        """As if the minute had passed for which a dead worker of ours still holds what it had claimed."""
        pending = wire.pending_key(TAG)
        if self.redis.exists(pending):
            for held in self.redis.xpending_range(pending, wire.GROUP, "-", "+", 1_000_000):
                self.redis.xclaim(
                    pending, wire.GROUP, held["consumer"], 0, [held["message_id"]], idle=LEASE_OVER_MS, justid=True
                )

    def let_go(self) -> None:
        """As if the week had passed for which Redis holds what waits."""
        if self._contender.horizon:
            for key in list(self.redis.scan_iter(match=self._contender.horizon, count=10_000)):
                self.redis.unlink(key)

    def arrived(self) -> int:
        """Return how many events have come from the service to where they wait."""
        if self._contender.job is None:
            with psycopg.connect(self._database_url) as database:
                count = "select (select count(*) from predictions) + (select count(*) from labels)"
                return int(database.execute(count).fetchall()[0][0])
        if self._contender.module == STREAM.module:
            return int(self.redis.xlen("events"))
        if self._contender.module == PANDAS.module:
            predictions = sum(1 for _ in self.redis.scan_iter(match=PANDAS.horizon, count=10_000))
            return predictions + int(self.redis.llen("labels"))
        return int(self.redis.xlen(wire.pending_key(TAG)))

    def servers_cpu_s(self) -> float:
        """Return the seconds that both servers have taken so far, those of their ended processes too."""
        said = self.redis.info("cpu")
        of_redis = float(said["used_cpu_user"]) + float(said["used_cpu_sys"])
        while True:
            try:
                living = [child.cpu_times() for child in self._postgres.children()]
            except psutil.NoSuchProcess:
                continue  # one has just ended, and counts for its parent
            own = self._postgres.cpu_times()
            return of_redis + sum(times.user + times.system for times in [own, *living]) + sum(own[2:4])

    def redis_peak_mb(self) -> float:
        said = self.redis.info("memory")
        return (said["used_memory_peak"] - said["used_memory_startup"]) / 2**20

    def check(self, keys: int) -> dict[str, Any]:
        command = [sys.executable, str(HERE / "alternatives_check.py"), self._contender.name, self.rows, str(keys)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        checked: dict[str, Any] = json.loads(done.stdout)
        return checked


class Service:
    """The service's process."""

    def __init__(self, contender: Contender, place: Place, keys: int, stack: ExitStack) -> None:
        command = [sys.executable, str(HERE / "alternatives_service.py"), contender.name, str(keys)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = stack.enter_context(subprocess.Popen(command, env=place.environment, **pipes))

    def log(self, phase: int) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{phase}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the service ended"
        figures: dict[str, float] = json.loads(answer)
        return figures


def run(contender: Contender, keys: int, killed: str | None = None) -> dict[str, Any]:
    """All phases. `killed` says whether the job is killed once, `before` or `after` it writes, and then run again."""
    with ExitStack() as stack:
        place = Place(contender, stack)
        cpu_s = place.servers_cpu_s()
        service = Service(contender, place, keys, stack)
        logged, jobs = [], []
        for phase in range(PHASES):
            logged.append(service.log(phase))
            runs = contender.job is not None and (not contender.once or phase == PHASES - 1)
            if runs and killed and (contender.once or phase == KILLED_PHASE):
                place.join_killed(killed)
            if runs:
                jobs.append(place.join())
            if phase == LAST_BEFORE_HORIZON:
                before_s = place.servers_cpu_s()
                place.let_go()
                cpu_s += place.servers_cpu_s() - before_s  # the bench's own
        figures: dict[str, Any] = {"servers_cpu_s": place.servers_cpu_s() - cpu_s}
        figures |= {name: sum(one[name] for one in logged) for name in ("events", "logged_s", "service_cpu_s")}
        # Of the phase with the most events.
        figures |= {name: logged[0][name] for name in ("p50_us", "p99_us")}
        figures |= {"joined_s": sum(job.wall_s for job in jobs), "job_cpu_s": sum(job.cpu_s for job in jobs)}
        # With nothing to do: what a start takes.
        figures |= {"idle_cpu_s": place.join().cpu_s if contender.job else 0.0}
        figures |= {"job_mb": max((job.memory_mb for job in jobs), default=0.0), "redis_mb": place.redis_peak_mb()}
        return figures | place.check(keys)


def killed_service(contender: Contender, events: int) -> int:
    """Return of how many calls, 1,000 per second, nothing has arrived though they had returned before a SIGKILL."""
    with ExitStack() as stack:
        place = Place(contender, stack)
        _, code = place.run(("alternatives_service.py", contender.name, str(events), "--dies", str(events)))
        assert code == -9
        return events - place.arrived()


def killed_job(contender: Contender, keys: int, whole: int) -> Killed:
    """Return the most rows that are missing of the `whole`, and that are too many, after a death before or after."""
    found = [run(contender, keys, killed=when) for when in ("before", "after")]
    return Killed(max(whole - rights(one) for one in found), max(one["doubled"] for one in found))


def rights(figures: dict[str, Any]) -> int:
    """Return how many rows are right, of all kinds together."""
    return sum(figures["kinds"][kind][0] for kind in KINDS)
