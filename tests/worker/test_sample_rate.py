"""`joinback sample-rate`: the rate that feedback follows, seen and set by a command."""

import pytest
import redis
from conftest import Cli, Stack

import joinback
from joinback import wire
from joinback.sampling import keeps
from joinback.settings import Settings


def test_lowering_the_rate(settings: Settings, server: redis.Redis, cli: Cli) -> None:
    """After a smoke test at 1.0 the rate is lowered by a command, the shards stay, and feedback follows."""
    server.hset(wire.APPLICATIONS_KEY, "ads", '{"shards":4,"sample_rate":1.0}')
    server.expire(wire.APPLICATIONS_KEY, 3600)
    assert cli("sample-rate", "ads").stdout == "ads sample_rate=1\n"
    assert cli("sample-rate", "ads", "0.1").stdout == "ads sample_rate=0.1 before=1\n"
    assert server.hget(wire.APPLICATIONS_KEY, "ads") == b'{"shards":4,"sample_rate":0.1}'
    telling = joinback.Client().init(settings.redis_url)
    for n in range(300):
        telling.log_record("ads", feedback={"clicked": True}, join_key=f"k{n}")
    assert telling.flush()
    assert telling.stats()["sent"] == sum(keeps("ads", f"k{n}", 0.1) for n in range(300))
    telling.close()


def test_before_the_first_prediction(settings: Settings, server: redis.Redis, cli: Cli) -> None:
    """An application of feedback alone has no rate yet."""
    server.hset(wire.APPLICATIONS_KEY, "ads", '{"shards":1,"sample_rate":null}')
    server.expire(wire.APPLICATIONS_KEY, 3600)
    assert cli("sample-rate", "ads").stdout == "ads sample_rate=none\n"


def test_what_is_wrong_is_one_line(settings: Settings, server: redis.Redis, cli: Cli) -> None:
    """An unknown application names the nearest; a rate that is none, or no Redis, ends with exit code 2."""
    server.hset(wire.APPLICATIONS_KEY, "fraud", '{"shards":1,"sample_rate":1.0}')
    server.expire(wire.APPLICATIONS_KEY, 3600)
    for arguments, says in (
        (("fruad", "0.5"), "no application 'fruad' in this Redis; did you mean fraud?"),
        (("loans",), "its clients announce it with their first event"),
        (("fraud", "0"), "RATE must be above 0 and at most 1"),
        (("fraud", "1.5"), "RATE must be above 0 and at most 1"),
        (("fraud", "nan"), "RATE must be above 0 and at most 1"),
        (("fraud", "much"), "is not a valid float"),
    ):
        done = cli("sample-rate", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert says in done.stderr
        assert "Traceback" not in done.stderr
    done = cli("sample-rate", "fraud", JOINBACK_REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 2
    assert "no connection" in done.stderr
    assert server.hget(wire.APPLICATIONS_KEY, "fraud") == b'{"shards":1,"sample_rate":1.0}'


@pytest.mark.parametrize(("published", "told"), [(0.2, True), (0.1, False)])
def test_feedback_of_more_keys_than_predictions(stack: Stack, cli: Cli, published: float, told: bool) -> None:
    """`doctor` compares the published rate with that of the newest predictions, and has the command that lowers it."""
    stack.client.set_sample_rate("ads", 0.1)
    for n in range(400):
        stack.client.log_record("ads", inputs=1, outputs=0, join_key=f"k{n}")
    assert stack.client.flush()
    assert cli("sample-rate", "ads", str(published)).returncode == 0
    shown = cli("doctor").stdout
    kept = sum(keeps("ads", f"k{n}", 0.1) for n in range(400))
    says = (
        f"LOOK  clients  sample_rate_high: ads: feedback is kept for 0.2 of the keys, but the newest {kept} predictions"
    )
    assert (says in shown) == told
    assert ("joinback sample-rate ads 0.1\n" in shown) == told
