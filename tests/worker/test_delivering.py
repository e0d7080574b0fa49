"""The events of commands go through the client, in parts, and count as delivered only if Redis has them."""

import pytest
from conftest import Stack, free_port
from msgspec import structs

import joinback
from joinback_worker.by_hand import delivering
from joinback_worker.by_hand.delivering import Call, Undelivered, deliver, new_name


def call(number: int, sent: list[int]) -> Call:
    def log(client: joinback.Client) -> None:
        sent.append(client.stats()["sent"])
        client.log_record("loans", feedback={"repaid": True}, join_key=f"loan_{number}")

    return log


def test_each_part_is_waited_for(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part is logged when Redis has the one before, so the client's buffer never fills."""
    monkeypatch.setattr(delivering, "FLUSH_EVENTS", 10)
    sent: list[int] = []
    assert deliver(stack.settings, (call(number, sent) for number in range(35))) == 35
    assert sent[::10] == [0, 10, 20, 30]
    assert stack.books().pending == 35


def test_without_redis_it_ends_with_the_first_part(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Redis does not take a part in time, the error says how many it has, and no more are logged."""
    monkeypatch.setattr(delivering, "FLUSH_EVENTS", 10)
    monkeypatch.setattr(delivering, "FLUSH_TIMEOUT_S", 0.1)
    sent: list[int] = []
    nowhere = structs.replace(stack.settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(Undelivered, match=r"^0 of 10 events reached Redis, and no more, undelivered 10; see"):
        deliver(nowhere, (call(number, sent) for number in range(35)))
    assert len(sent) == 10


def test_nothing_is_left_in_a_spool(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is reported as undelivered is not delivered later, even if the environment names a spool."""
    folder = tmp_path_factory.mktemp("spool")
    monkeypatch.setenv("JOINBACK_SPOOL_DIR", str(folder))
    monkeypatch.setattr(delivering, "FLUSH_TIMEOUT_S", 0.1)
    nowhere = structs.replace(stack.settings, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(Undelivered):
        deliver(nowhere, [call(1, [])])
    assert not list(folder.iterdir())


def test_a_name_is_an_event_id() -> None:
    """A receipt is an event id that no other run makes, and begins with what it is of."""
    names = {new_name("retract") for _ in range(50)}
    assert len(names) == 50
    assert all(name.startswith("retract-2") and len(name) == 31 for name in names)
