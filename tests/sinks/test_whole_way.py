"""From `log_record` to `records`, on every sink: joined late, and an outage of the sink that costs nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Stack
from engines import EACH_ENGINE, ENGINES, Engine


@pytest.fixture(params=EACH_ENGINE)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]


@pytest.fixture
def url(engine: Engine, tmp_path: Path) -> Iterator[str]:
    with engine.place(tmp_path) as url:
        yield url


def test_a_label_that_comes_when_redis_has_forgotten(stack: Stack, engine: Engine, url: str) -> None:
    """A prediction drained long ago, its record gone from Redis, is joined in the sink by its late label."""
    for n in range(50):
        stack.client.log_record("loans", inputs={"amount": n}, outputs={"default": 0.07}, join_key=f"loan_{n}")
    assert stack.drain(sink_url=url).rows == 50
    for n in range(50):
        stack.server.delete(stack.record(f"loan_{n}"))
    for n in range(0, 50, 2):
        stack.client.log_record("loans", feedback={"repaid": True}, join_key=f"loan_{n}")
    drained = stack.drain(sink_url=url)
    assert (drained.rows, drained.joined) == (25, 25 if engine.looks_up else 0)
    rows = engine.rows(url)
    assert len(rows) == 50
    assert {key for key, row in rows.items() if row["status"] == "joined"} == {f"loan_{n}" for n in range(0, 50, 2)}
    assert rows["loan_4"]["inputs"] == {"amount": 4}
    assert rows["loan_4"]["feedback"] == {"repaid": True}


def away(engine: Engine, tmp_path: Path) -> str:
    """The URL of a place that cannot take rows now."""
    (tmp_path / "a file").write_text("in the way")
    return {
        "sqlite": f"sqlite:///{tmp_path}/missing/sink.db",
        "postgresql": "postgresql://postgres@127.0.0.1:1/postgres",
        "clickhouse": "clickhouse://127.0.0.1:1/default",
        "delta+s3": "delta+s3://bucket/x?AWS_ENDPOINT_URL=http://127.0.0.1:1&AWS_ALLOW_HTTP=true&AWS_REGION=x"
        "&AWS_ACCESS_KEY_ID=a&AWS_SECRET_ACCESS_KEY=b&max_retries=0&timeout=1s",
    }.get(engine.name, f"{engine.name}:///{tmp_path}/a file/x")


def test_an_outage_of_the_sink_costs_nothing(stack: Stack, engine: Engine, url: str, tmp_path: Path) -> None:
    """While the sink is away nothing is acknowledged, and one line says why; the next drain brings all of it."""
    for n in range(20):
        stack.client.log_record("loans", inputs=n, outputs=0, join_key=f"k{n}", feedback={"ok": n % 2 == 0})
    drained = stack.drain(sink_url=away(engine, tmp_path))
    assert drained.error
    assert "\n" not in drained.error
    assert (drained.rows, stack.books().pending, stack.dead()) == (0, 40, [])
    drained = stack.drain(sink_url=url)
    assert (drained.rows, drained.joined, drained.error) == (20, 20, None)
    assert stack.books().in_rows == 40
    assert len(engine.rows(url)) == 20
