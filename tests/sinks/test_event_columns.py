"""The columns of append stores: what earlier releases wrote, cell by cell, and a name that tells a batch again."""

from datetime import UTC, datetime

import pytest
from events import NOON, at, feedback, prediction, record, retraction

from joinback_worker.law.record import Record
from joinback_worker.sinks.arrow_events import table_of
from joinback_worker.sinks.event_columns import EventColumns
from joinback_worker.sinks.event_log import COLUMNS, Stored, microseconds, records_from, records_of_headers

RECORDS = [
    record(
        {
            "prediction:p": prediction(0, version="1", tags={"a": 1}, sample_rate=0.5),
            "feedback:f": feedback(60, repaid=True, note="ü\n"),
            "feedback:e": feedback(30, "human", days=3),
        },
        "k1",
    ),
    record({"prediction:p": prediction(5), "retraction:r": retraction(90, ["a"])}, "ké"),
    record({"feedback:f": feedback(60, a=None), "retraction:r": retraction(90, None, event_ids=["f"])}, "k2"),
]


def test_a_batch_has_the_name_it_always_had() -> None:
    """A batch that an earlier release wrote is known by its events, in whatever order they come."""
    for records in (RECORDS, RECORDS[::-1]):
        assert EventColumns(records, datetime.now(UTC)).content_id == "f32c2490dac9677a99ec3f93a39de541"


def test_the_cells_of_each_kind() -> None:
    """A row holds its event as it was logged, once: a prediction's inputs and outputs stand in columns of their own."""
    events = EventColumns(RECORDS, NOON)
    columns = {name: getattr(events, name) for name in COLUMNS}
    assert {len(cells) for cells in columns.values()} == {len(events)} == {7}
    rows = {
        (row["join_key"], row["kind"], row["event_id"]): row
        for row in (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
    }
    assert rows["k1", "prediction", "p"] == {
        "application": "loans",
        "join_key": "k1",
        "kind": "prediction",
        "event_id": "p",
        "digest": 6_988_470_991_585_408_121,
        "ordered_at_us": microseconds(NOON),
        "event_at": NOON,
        "logged_at": NOON,
        "version": "1",
        "environment": None,
        "tags": '{"a":1}',
        "event": '{"v":1,"at":"2026-11-23T12:00:00Z","logged_at":"2026-11-23T12:00:00Z","version":"1","tags":{"a":1}}',
        "inputs": '{"a":1}',
        "outputs": "0.5",
        "sample_rate": 0.5,
        "fields": [],
        "field_values": [],
        "all_fields": False,
        "written_at": NOON,
    }
    told = rows["k1", "feedback", "f"]
    assert (told["fields"], told["field_values"]) == (["repaid", "note"], ["true", '"ü\\n"'])
    assert (told["inputs"], told["outputs"], told["sample_rate"], told["event_at"]) == (None, None, None, at(60))
    assert rows["k1", "feedback", "e"]["event"].endswith('"feedback":{"days":3},"source":"human"}')
    some, all_ = rows["ké", "retraction", "r"], rows["k2", "retraction", "r"]
    assert (some["fields"], some["all_fields"], some["field_values"]) == (["a"], False, [])
    assert (all_["fields"], all_["all_fields"]) == ([], True)
    assert all_["event"].endswith('"event_ids":["f"]}')


AHEAD = record(
    {"feedback:f": feedback(7_200, a=1).replace(b'"logged_at":"2026-11-23T14', b'"logged_at":"2026-11-23T12')}
)


def test_a_clock_ahead_orders_by_the_other_one() -> None:
    """What is far ahead of its client's clock is ordered by that clock, and keeps its own time beside it."""
    events = EventColumns([AHEAD], NOON)
    assert events.ordered_at_us == [microseconds(NOON)]
    assert events.event_at == [at(7_200)]


def test_names_that_look_like_the_end_of_a_header() -> None:
    """`event` ends before a prediction's own inputs, whatever its tags, version and values hold."""
    tricky = ',"inputs":'
    events = EventColumns(
        [
            record({"prediction:p": prediction(0, tags={"a": "b", "inputs": "c", "outputs": tricky})}, "tags"),
            record({"prediction:p": prediction(0, version=tricky)}, "version"),
        ],
        NOON,
    )
    times = '"at":"2026-11-23T12:00:00Z","logged_at":"2026-11-23T12:00:00Z"'
    assert events.event == [
        f'{{"v":1,{times},"tags":{{"a":"b","inputs":"c","outputs":",\\"inputs\\":"}}}}',
        f'{{"v":1,{times},"version":",\\"inputs\\":"}}',
    ]


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1], RECORDS[2:], [*RECORDS, AHEAD]])
def test_arrow_has_the_same_cells(records: list[Record]) -> None:
    """A file holds cell by cell what the columns hold, whichever kinds of events the batch has."""
    events = EventColumns(records, NOON)
    assert table_of(events).to_pydict() == {name: getattr(events, name) for name in COLUMNS}


def test_what_a_look_up_reads_tells_the_same_events() -> None:
    """Without inputs and outputs a record has the same events, of which the smallest digest counts under each name."""
    others = record({"prediction:p": prediction(9, version="2"), "feedback:f": feedback(61, repaid=False)}, "k1")
    unreadable = Stored("k1", "feedback", "x", 1, "{}", None, None, None)
    rows = [unreadable]
    for events in (EventColumns([*RECORDS, others], NOON), EventColumns([others, *RECORDS], NOON)):
        rows += map(Stored, *(getattr(events, name) for name in Stored._fields))
    for read in (rows, rows[::-1]):
        whole, told = records_from("loans", read), records_of_headers("loans", [row[:5] for row in read])
        assert told.keys() == whole.keys()
        for key, held in whole.items():
            assert (told[key].feedback, told[key].retractions) == (held.feedback, held.retractions)
            assert {id_: event.at for id_, event in told[key].predictions.items()} == {
                id_: event.at for id_, event in held.predictions.items()
            }
