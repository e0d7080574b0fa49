"""How long a caller waits: any number of seconds works, and what is none is refused before anything is done."""

import asyncio
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import joinback
from joinback.timeouts import seconds_of, timeout_of

HUGE = 10**400
WAITS: list[Callable[[joinback.Client, Any], bool]] = [
    lambda client, timeout_s: client.flush(timeout_s),
    lambda client, timeout_s: asyncio.run(client.aflush(timeout_s)),
    lambda client, timeout_s: client.close(timeout_s),
]
waits = pytest.mark.parametrize("wait", WAITS, ids=["flush", "aflush", "close"])


@waits
@pytest.mark.parametrize("timeout_s", [math.inf, HUGE, 1e300, 2**63, 600, np.float32(600), np.int64(600), Decimal(600)])
def test_a_long_wait(client: joinback.Client, wait: Callable[[joinback.Client, Any], bool], timeout_s: Any) -> None:
    """It ends when Redis has the event, also if no lock could wait for so long."""
    client.log_record("loans", inputs=1, outputs=2)
    assert wait(client, timeout_s)
    assert client.stats()["sent"] == 1


@waits
@pytest.mark.parametrize("timeout_s", [0, -1, -math.inf, -HUGE])
def test_no_wait(wait: Callable[[joinback.Client, Any], bool], timeout_s: Any) -> None:
    """A timeout that is over when the call begins is a look: there is no Redis, so it finds the event undelivered."""
    client = joinback.Client().init("redis://127.0.0.1:1/0")
    client.log_record("loans", inputs=1, outputs=2)
    assert not wait(client, timeout_s)
    client.close(0)


@waits
@pytest.mark.parametrize("timeout_s", [math.nan, "5", None, [1], np.array([1, 2]), 1j])
def test_no_number(client: joinback.Client, wait: Callable[[joinback.Client, Any], bool], timeout_s: Any) -> None:
    """It is told, and the client goes on as if the call had not been made."""
    with pytest.raises(joinback.ConfigurationError, match="timeout_s must be a number of seconds"):
        wait(client, timeout_s)
    client.log_record("loans", inputs=1, outputs=2)
    assert client.flush()
    assert client.stats()["sent"] == 1


@pytest.mark.parametrize("wait_s", [math.inf, HUGE, np.float32(600)])
def test_long_patience(client: joinback.Client, wait_s: Any) -> None:
    """`log_records` waits as long as that, too, while the buffer is full."""
    rows = range(3_000)
    small = joinback.Client().init(client._funnel.options.redis_url, strict=True, buffer_events_max=1_000)
    small.log_records("loans", inputs=rows, outputs=rows, wait_s=wait_s)
    assert small.close(math.inf)
    assert small.stats()["sent"] == len(rows)


def test_seconds_of_a_timeout() -> None:
    """What is below 0 counts as 0, and what no float can hold as infinite."""
    assert [timeout_of(given) for given in (2, 2.5, True, -3, HUGE, -HUGE)] == [2.0, 2.5, 1.0, 0.0, math.inf, 0.0]
    assert math.isnan(seconds_of("2"))
