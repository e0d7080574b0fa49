"""Event times as callers give them, and the clocks behind them."""

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from conftest import PATIENCE_S

import joinback
from joinback import times
from joinback.drops import NotLogged
from joinback.settings import Settings
from joinback.times import utc

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T12:00:00Z",
        "2026-11-23T12:00:00",
        " 2026-11-23 12:00:00+00:00 ",
        "2026-11-23T13:00:00.000000000+01:00",
        "20261123T120000Z",
    ],
)
def test_iso_text_is_a_time(text: str) -> None:
    """As a CSV or a JSON body holds it; without a zone it is UTC, as a datetime is."""
    assert utc(text) == NOON
    assert utc("2026-11-23") == NOON.replace(hour=0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (1764000000, "for Unix seconds write datetime.fromtimestamp"),
        (1764000000.5, "not float; for Unix seconds"),
        ("1764000000", "ISO 8601 text, such as"),
        # fromisoformat takes it for the year 1612.
        ("1612120112345", "ISO 8601 text, such as"),
        ("20261123", "ISO 8601 text, such as"),
        ("11/23/2026 10:00", "ISO 8601 text, such as"),
        ("2026-11-23 25:00", "ISO 8601 text, such as"),
        ("", "ISO 8601 text, such as"),
        ("0001-01-01T00:00:00+10:00", "years 1 to 9999"),
    ],
)
def test_what_is_no_time_is_refused_with_the_fix(wrong: Any, says: str) -> None:
    """A guess would put an event into another century."""
    with pytest.raises(NotLogged, match=says):
        utc(wrong)


LOCAL = """
import sys, joinback
from datetime import UTC, datetime, timedelta
client = joinback.Client().init("redis://127.0.0.1:1/0")
for _ in range(3):
    client.log_record("loans", inputs=1, outputs=2, timestamp=eval(sys.argv[1]))
client.close(0)
"""


@pytest.mark.parametrize(
    ("zone", "timestamp", "lines", "hours"),
    [
        ("America/New_York", "datetime.now()", 1, "-5 hours"),
        ("America/New_York", "str(datetime.now())", 1, "-5 hours"),
        ("Asia/Kolkata", "datetime.now() - timedelta(seconds=30)", 1, "+5.5 hours"),
        ("America/New_York", "datetime.now(UTC)", 0, ""),
        ("America/New_York", "datetime.now().astimezone()", 0, ""),
        ("America/New_York", "datetime.now(UTC).replace(tzinfo=None)", 0, ""),
        ("America/New_York", "datetime(2026, 1, 2)", 0, ""),
        ("UTC", "datetime.now()", 0, ""),
    ],
)
def test_a_naive_local_time_is_told_once(zone: str, timestamp: str, lines: int, hours: str, tmp_path: Path) -> None:
    """datetime.now() outside of UTC is hours off: one line names the fix, and no other time gets it."""
    # By its rule and not its name: a machine may lack the zones.
    rules = {"America/New_York": "EST5", "Asia/Kolkata": "IST-5:30", "UTC": "UTC0"}
    done = subprocess.run(
        [sys.executable, "-c", LOCAL, timestamp],
        env={**os.environ, "TZ": rules[zone]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "local time" in line]
    assert len(told) == lines, done.stderr
    if told:
        assert hours in told[0]
        assert "write datetime.now(UTC)" in told[0]


def test_a_clock_that_is_off_is_told_once(
    settings: Settings, server: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client whose clock is six hours ahead of Redis's says so at its first connection, and only then."""
    client = joinback.Client().init(settings.redis_url)
    true_time = time.time
    monkeypatch.setattr(times, "time", type("Ahead", (), {"time": staticmethod(lambda: true_time() + 6 * 3600)}))
    client.log_record("loans", inputs=1, outputs=2)
    assert client.flush(PATIENCE_S)
    server.client_kill_filter(_type="normal", skipme=True)
    for n in range(3):
        client.log_record("loans", inputs=n, outputs=2)
        assert client.flush(PATIENCE_S)
    assert caplog.text.count("clock is 216") == 1
    assert "ahead of Redis's" in caplog.text
    client.close()


@pytest.mark.parametrize("reply", [None, [], [b"x"], 17, b"OK", [b"99999999999999999999999"]])
def test_a_server_that_tells_no_time_is_not_troubled(reply: Any) -> None:
    """TIME may be renamed, or answered by a proxy's own idea."""
    times.ClockWatch().compare(reply)


def test_a_right_clock_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """A second of difference is what networks make; five minutes are the bound."""
    watch = times.ClockWatch()
    now = datetime.now(UTC)
    for offset_s in (0, 200, -200):
        watch.compare([b"%d" % int((now + timedelta(seconds=offset_s)).timestamp()), b"0"])
    assert caplog.text == ""
    watch.compare([b"%d" % int((now + timedelta(seconds=400)).timestamp()), b"0"])
    assert "behind Redis's" in caplog.text
