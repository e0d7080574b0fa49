"""Rules per field on the whole way: strict letters, fields told once, workers whose files differ."""

import asyncio
import json
import os
import socket
import sqlite3
from typing import Any

import pytest
import structlog
from conftest import PATIENCE_S, Cli, Stack
from msgspec import structs
from ruled import file, reducing
from structlog.testing import capture_logs

from joinback import wire
from joinback_worker.drain.drainer import Drainer
from joinback_worker.notes import fields_seen

STRICT = {"loans": {"feedback": {"repaid": {"type": "bool", "strict": True}, "days": {"type": "int"}}}}


@pytest.fixture
def lines() -> Any:
    """The worker's log lines of a test, as dicts."""
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


def test_a_value_that_breaks_a_strict_field(stack: Stack, cli: Cli) -> None:
    """Its event is a dead letter that says why, and can be replayed when the file is mended; the others are joined."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="k")
    stack.client.log_record("loans", feedback={"days": 3}, join_key="k", event_id="good")
    stack.client.log_record("loans", feedback={"repaid": "perhaps"}, join_key="k", event_id="bad")
    assert stack.drain(STRICT).dead == 1
    (letter,) = stack.dead()
    assert (letter["reason"], letter["detail"]) == ("breaks_declaration", "repaid is text, not bool")
    assert stack.row("k")["feedback"] == '{"days":3}'
    assert stack.drain(STRICT).dead == 0
    assert cli("dead", "replay", "loans", "--all").returncode == 0
    stack.drain({"loans": {"feedback": {"repaid": {"type": ["perhaps", "yes"]}}}})
    assert stack.row("k")["feedback"] == '{"days":3,"repaid":"perhaps"}'


def test_a_strict_field_and_an_entry_without_an_event_id(stack: Stack) -> None:
    """A client of before, or another producer, names no event in its entry: what it brings is checked all the same."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="k")
    stack.client.log_record("loans", feedback={"repaid": "perhaps"}, join_key="k", event_id="bad")
    assert stack.client.flush(PATIENCE_S)
    pending = wire.pending_key(wire.tag("loans"))
    for entry_id, fields in stack.server.xrange(pending):
        stack.server.xdel(pending, entry_id)
        stack.server.xadd(pending, {name: fields[name] for name in (b"key", b"kind")})
    assert stack.drain(STRICT).dead == 1
    assert stack.row("k")["feedback"] is None


def test_what_was_taken_in_before_a_field_was_strict(stack: Stack) -> None:
    """A stricter file buries nothing that a row holds already: only what comes from then on."""
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="k")
    stack.client.log_record("loans", feedback={"repaid": "perhaps"}, join_key="k", event_id="before")
    stack.drain()
    stack.client.log_record("loans", feedback={"days": 3}, join_key="k")
    assert stack.drain(STRICT).dead == 0
    assert stack.row("k")["feedback"] == '{"days":3,"repaid":"perhaps"}'


def test_a_value_that_breaks_another_field_is_kept_and_counted(stack: Stack, cli: Cli) -> None:
    """It stands in the row as it was told; `status` counts it by field, once."""
    for n, days in enumerate(("3", "many", [1])):
        stack.client.log_record("loans", feedback={"days": days}, join_key=f"k{n}")
    stack.drain(STRICT)
    stack.server.delete(wire.record_key("loans", "k0"))
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="k1")
    stack.drain(STRICT)
    assert [row["feedback"] for row in stack.rows()] == ['{"days":3}', '{"days":"many"}', '{"days":[1]}']
    status = cli("status")
    assert status.returncode == 0, status.stdout
    assert "loans: 2 values of 'days' have another type than declared" in status.stdout
    (field,) = json.loads(cli("status", "--json").stdout)["applications"]["loans"]["fields"].values()
    assert field["broken"] == 2


def test_a_new_field_is_told_once(stack: Stack, lines: list[dict[str, Any]]) -> None:
    """The log names a field when it is seen first, whichever worker sees it, and not again."""
    for n in range(3):
        stack.client.log_record("loans", feedback={"repaid": True}, join_key=f"k{n}")
        stack.drain()
    stack.client.log_record("loans", feedback={"repayed": True}, join_key="k")
    stack.drain()
    assert [line["field"] for line in lines if line["event"] == "feedback_field_first_seen"] == ["repaid", "repayed"]


def test_workers_whose_files_differ(stack: Stack, cli: Cli, lines: list[dict[str, Any]]) -> None:
    """Each is told, by name and digest, until both have the same file; a file that was changed once is no alarm."""
    sums = {"ads": reducing(clicks="sum")}
    config = file(stack.folder, **sums)

    async def run() -> None:
        workers = [Drainer(stack.settings), Drainer(structs.replace(stack.settings, config=config))]
        for n, worker in enumerate([0, 1, 1, 0, 1]):
            stack.client.log_record("ads", feedback={"clicks": 2**n}, join_key="k")
            assert stack.client.flush(PATIENCE_S)
            assert (await workers[worker].round(60)).error is None
            if n == 2:
                assert [line["event"] for line in lines if line["event"].startswith("rules_")] == ["rules_changed"]
        for worker in workers:
            await worker.aclose()

    asyncio.run(run())
    differ, *_ = (line for line in lines if line["event"] == "rules_differ")
    assert differ["of"] == f"{socket.gethostname()}:{os.getpid()}"
    status = cli("status")
    assert status.returncode == 1
    assert "ads: workers follow different rules: " in status.stdout.replace("\n", " ")
    done = cli("sink", "refold", "ads", JOINBACK_CONFIG=config)
    assert done.returncode == 0, done.stderr
    assert cli("status").returncode == 0
    assert stack.row("k")["feedback"] == '{"clicks":31}'


def test_rows_of_former_rules_are_told(stack: Stack, cli: Cli) -> None:
    """Long after the file changed, `status` says which rows stand as former rules made them; that is no alarm."""
    stack.client.log_record("ads", feedback={"clicks": 1}, join_key="k")
    stack.drain()
    (field,) = stack.server.hkeys(wire.RULES_KEY)
    use = json.loads(stack.server.hget(wire.RULES_KEY, field))
    stack.server.hset(wire.RULES_KEY, field, json.dumps(use | {"last": "2026-01-01T00:00:00Z"}))
    stack.client.log_record("ads", feedback={"clicks": 2}, join_key="k")
    stack.drain({"ads": reducing(clicks="sum")})
    status = cli("status")
    assert status.returncode == 0
    assert "follow older rules than" in status.stdout.replace("\n", " ")


def test_rules_that_were_rolled_back(stack: Stack, cli: Cli) -> None:
    """After r1, r3 and r1 again, the rows before the second change are told, and r3 was last used before it."""
    for rules in ({}, {"ads": reducing(clicks="sum")}, {}):
        stack.client.log_record("ads", feedback={"clicks": 1}, join_key="k")
        stack.drain(rules)
    # Times are told to the second: make it an hour from one to the next.
    uses = {field: json.loads(value) for field, value in stack.server.hgetall(wire.RULES_KEY).items()}
    (latest, former) = sorted(uses, key=lambda field: uses[field]["last"], reverse=True)
    assert uses[former]["last"] < uses[latest]["since"]
    uses[former] |= {"since": "2026-01-01T00:00:00Z", "last": "2026-01-01T01:00:00Z"}
    stack.server.hset(wire.RULES_KEY, former, json.dumps(uses[former]))
    stack.server.hset(wire.RULES_KEY, latest, json.dumps(uses[latest] | {"since": "2026-01-01T02:00:00Z"}))
    told = cli("status").stdout.replace("\n", " ")
    assert "ads: rows written before 2026-01-01T02:00:00+00:00 follow older rules" in told
    assert "which were last used at 2026-01-01T01:00:00+00:00" in told


def test_other_rules_for_a_while(stack: Stack, cli: Cli) -> None:
    """If another worker used other rules while this one went on, the rows of that time are told, with both ends."""
    stack.client.log_record("ads", feedback={"clicks": 1}, join_key="k")
    stack.drain()
    (field,) = stack.server.hkeys(wire.RULES_KEY)
    use = json.loads(stack.server.hget(wire.RULES_KEY, field)) | {"since": "2025-01-01T00:00:00Z"}
    stack.server.hset(wire.RULES_KEY, field, json.dumps(use))
    other = use | {"since": "2026-01-01T00:00:00Z", "last": "2026-01-01T01:00:00Z"}
    stack.server.hset(wire.RULES_KEY, wire.rules_field("ads", "0123abcd"), json.dumps(other))
    told = cli("status").stdout.replace("\n", " ")
    assert "rows written between 2026-01-01T00:00:00+00:00 and 2026-01-01T01:00:00+00:00 may follow the rules" in told
    assert " 0123abcd, not " in told


def test_where_a_view_folds_former_rules_are_forgotten(stack: Stack) -> None:
    """A lake's rows follow the rules of who reads them: there is nothing to refold, and nothing to tell."""
    lake = {"sink_url": f"jsonl:///{stack.folder}/lake"}
    stack.client.log_record("ads", feedback={"clicks": 1}, join_key="k")
    stack.drain(**lake)
    (field,) = stack.server.hkeys(wire.RULES_KEY)
    use = json.loads(stack.server.hget(wire.RULES_KEY, field))
    stack.server.hset(wire.RULES_KEY, field, json.dumps(use | {"last": "2026-01-01T00:00:00Z"}))
    stack.client.log_record("ads", feedback={"clicks": 2}, join_key="k")
    stack.drain({"ads": reducing(clicks="sum")}, **lake)
    assert len(stack.server.hkeys(wire.RULES_KEY)) == 1


def test_a_field_that_matures_after_a_label_came(stack: Stack) -> None:
    """A fast click does not hide that nothing was bought: the default comes with the clock, without traffic."""
    rules = {"ads": {"labels": ["bought"], "feedback": {"bought": {"maturity_s": 60, "default": False}}}}
    stack.client.log_record("ads", inputs=1, outputs=2, join_key="k", timestamp="2026-01-01T00:00:00Z")
    stack.client.log_record("ads", feedback={"clicked": True}, join_key="k", timestamp="2026-01-01T00:00:01Z")
    stack.drain()
    assert stack.row("k")["status"] == "joined"
    stack.execute("UPDATE records SET matures_at = '2026-01-01T00:01:00.000000Z'")
    assert stack.drain(rules).matured == 1
    row = stack.row("k")
    assert (row["status"], row["feedback"]) == ("unlabelled", '{"bought":false,"clicked":true}')
    assert (row["default_fields"], row["matures_at"]) == ('["bought"]', None)
    assert stack.drain(rules).matured == 0


def test_the_index_serves_maturity(stack: Stack) -> None:
    """What asks for matured rows each tick reads an index of those that wait."""
    stack.client.log_record("ads", inputs=1, outputs=2, join_key="k")
    stack.drain()
    with sqlite3.connect(stack.settings.sink_url.removeprefix("sqlite:///")) as database:
        query = "SELECT join_key FROM records WHERE application = 'ads' AND matures_at < '2027'"
        (plan,) = database.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
    database.close()
    assert "records_maturing" in plan[3]


def test_doctor_looks_at_the_file(stack: Stack, cli: Cli) -> None:
    """`joinback doctor` says which applications the file declares, or each mistake with its line; exit code 1 then."""
    good = cli("doctor", JOINBACK_CONFIG=file(stack.folder, ads={"maturity_s": 60}))
    assert good.returncode == 0, good.stdout
    assert ".toml: ads" in good.stdout
    wrong = cli("doctor", JOINBACK_CONFIG=file(stack.folder, ads={"maturty_s": 60, "label": ["x"]}))
    assert wrong.returncode == 1
    assert wrong.stdout.count("FIX   rules  rules_wrong: ") == 2
    assert "line 2: applications.ads.maturty_s is not known; did you mean maturity_s?" in wrong.stdout


def test_something_else_at_the_keys_of_the_rules(stack: Stack, cli: Cli) -> None:
    """Where somebody wrote another type at the keys of rules and fields, all is drained and shown, and it is told."""
    stack.server.set(wire.RULES_KEY, "mine", ex=60)
    stack.server.set(wire.fields_key("loans"), "mine", ex=60)
    stack.client.log_record("loans", feedback={"repaid": True}, join_key="k")
    assert (stack.drain().rows, stack.drain().error) == (1, None)
    status = cli("status")
    assert status.returncode == 1
    assert "key_taken: joinback:rules is a string, not a hash" in status.stdout
    assert "loans" in status.stdout


def test_names_that_are_most_likely_typos(stack: Stack, cli: Cli, lines: list[dict[str, Any]]) -> None:
    """A rule for a name that nobody logs, beside a name that has no rules, is told: by `status` and in the log."""
    rules = {"ads": {"feedback": {"bougth": {"maturity_s": 60, "default": False}}}, "lones": {"maturity_s": 60}}
    stack.client.log_record("ads", feedback={"bought": True}, join_key="k")
    stack.client.log_record("loans", inputs=1, outputs=2, join_key="k")
    stack.drain(rules)
    (told,) = (line for line in lines if line["event"] == "feedback_field_not_declared")
    assert (told["field"], told["did_you_mean"]) == ("bought", "bougth")
    shown = cli("status", JOINBACK_CONFIG=file(stack.folder, **rules)).stdout.replace("\n", " ")
    assert "ads: the rules declare 'bougth', but no event has it; events have 'bought', which has no rules" in shown
    assert (
        "the rules declare 'lones', but no client has logged it yet; clients log 'loans', which has no rules" in shown
    )
    assert f"correct 'lones' to 'loans' in {stack.folder}" in shown
    assert "config check" not in shown


def test_status_with_a_wrong_file(stack: Stack, cli: Cli) -> None:
    """The books are shown all the same, and the mistake is told."""
    status = cli("status", JOINBACK_CONFIG=file(stack.folder, ads={"maturty_s": 60}))
    assert status.returncode == 1
    assert "rules_wrong: " in status.stdout


def test_rules_are_noted_without_traffic(stack: Stack, cli: Cli) -> None:
    """A worker with a new file is known by its next tick, of an idle application too."""
    stack.client.log_record("ads", feedback={"clicks": 1}, join_key="k")
    stack.drain()
    stack.drain({"ads": reducing(clicks="sum")})
    assert len(stack.server.hkeys(wire.RULES_KEY)) == 2
    assert "follow older rules than" in cli("status").stdout.replace("\n", " ")


def test_names_made_from_ids_are_no_flood(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names somebody makes, a worker notes so many; those told again are marked as such."""
    monkeypatch.setattr(fields_seen, "FIELDS_MAX", 5)

    async def run() -> None:
        drainer = Drainer(stack.settings)
        for n in range(4):
            for m in range(3):
                stack.client.log_record("loans", feedback={f"field_{n}_{m}": 1, "repaid": True}, join_key="k")
            assert stack.client.flush(PATIENCE_S)
            assert (await drainer.round(60)).error is None
        await drainer.aclose()

    asyncio.run(run())
    noted = [field.decode() for field in stack.server.hkeys(wire.fields_key("loans"))]
    assert sum(field.startswith("seen:") for field in noted) == 5
    assert [field for field in noted if field.startswith("again:")] == ["again:repaid"]
