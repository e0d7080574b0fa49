"""Plant one mistake after another in a copy of the tree, and say which the tests did not see.

python tests/planted.py             # all of them: by hand, or nightly; CI does not run it
python tests/planted.py ring fsync  # those whose name has one of these words

A mistake is a text of a file, what stands there instead, and an expression for `pytest -k`. It counts as seen if
the tests of the expression pass without it and fail with it. The tree itself is never touched. Exit code 1 if a
mistake was not seen, or if its text, or a test for it, is no longer there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS_TIMEOUT_S = 900.0
"""Some mistakes make a test wait for what never comes."""
WORKER, CLIENT = "worker/joinback_worker", "client/joinback"


class Mistake(NamedTuple):
    name: str
    file: str
    right: str
    wrong: str
    where: str
    """The tests to run: files or folders below tests/."""
    seen_by: str
    """An expression for `pytest -k`."""


MISTAKES = [
    # Ten that no test saw once.
    Mistake(
        "a retraction of a named field spares what was said at its very moment",
        f"{WORKER}/law/counting.py",
        "at <= self._until[name]",
        "at < self._until[name]",
        "worker/test_row.py test_any_order.py",
        "retract or any_partition",
    ),
    Mistake(
        "feedback is sampled by another spelling of the key",
        f"{CLIENT}/_delivery/writer.py",
        "sampling.keeps(application, e[1], rate)",
        "sampling.keeps(application, e[1].lower(), rate)",
        "client",
        "sampl or spelling",
    ),
    Mistake(
        "the pending stream lives no longer than the records",
        f"{CLIENT}/write.lua",
        "keep_for(pending, stats_ttl_s)",
        "keep_for(pending, buffer_ttl_s)",
        "client worker",
        "ttl or pending or write_script",
    ),
    Mistake(
        "the ring to send again holds half a second",
        f"{CLIENT}/_delivery/replay.py",
        "REPLAY_S = 5.0",
        "REPLAY_S = 0.5",
        "client faults",
        "replay or ring or again",
    ),
    Mistake(
        "nothing is sent again where INFO is forbidden",
        f"{CLIENT}/_delivery/transport/link.py",
        'about.get("run_id") or f"{self.where}#{next(_numbers)}"',
        'about.get("run_id") or self.where',
        "faults/test_outages.py",
        "without_info",
    ),
    Mistake(
        "a late mark makes a record that lives for ever",
        f"{WORKER}/drain/settle.lua",
        "if redis.call('TTL', record) == -1 then redis.call('EXPIRE', record, late_mark_ttl_s) end",
        "",
        "worker",
        "late or mark or ttl",
    ),
    Mistake(
        "the replay of a letter keeps the late mark",
        f"{WORKER}/by_hand/dead_letters.py",
        '"HDEL", record, letter.event, f"{wire.LATE}:{event_id}")',
        '"HDEL", record, letter.event)',
        "worker/test_dead.py worker/test_cycle.py",
        "replay or late",
    ),
    Mistake(
        "PostgreSQL's keys are locked in no order",
        f"{WORKER}/sinks/postgres.py",
        'else sorted(key for key in join_keys if "\\0" not in key)',
        'else list({key for key in join_keys if "\\0" not in key})',
        "sinks/test_postgres.py",
        "locked_in_their_order",
    ),
    Mistake(
        "the spool does not wait for the disk",
        f"{CLIENT}/_delivery/spool_segment.py",
        "            os.fsync(self.fd)\n",
        "",
        "client/test_spool.py",
        "on_disk",
    ),
    Mistake(
        "SQLite does not wait for the disk",
        f"{WORKER}/sinks/sqlite_file.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = OFF",
        "sinks/test_sqlite.py",
        "test_sqlite",
    ),
    # Of labels that are imported.
    Mistake(
        "a label that the buffer's prediction would match is an import's orphan",
        f"{WORKER}/labels/lookup.py",
        "is_predicted=_has_prediction(fields) or predicted_at",
        "is_predicted=predicted_at",
        "worker/test_import.py",
        "an_import_joins",
    ),
    Mistake(
        "an import tells again what the sink has",
        f"{WORKER}/labels/lookup.py",
        "        all_fields += _decode_events(row.feedback_events)",
        "        pass",
        "worker/test_import.py",
        "again",
    ),
    Mistake(
        "an import says nothing of labels that Redis did not take",
        f"{WORKER}/labels/label_sender.py",
        'if stats["sent"] != stats["logged"]:',
        "if False:",
        "worker/test_import.py",
        "not_take",
    ),
    Mistake(
        "an import writes orphans unasked",
        f"{WORKER}/labels/importing.py",
        "return self._orphans and not is_sent",
        "return not is_sent",
        "worker/test_import_matching.py",
        "orphans",
    ),
    Mistake(
        "of a corrected label of the same time chance decides",
        f"{WORKER}/labels/corrections.py",
        "at = max(rivals) + _STEP",
        "at = max(rivals)",
        "worker/test_import.py",
        "corrected",
    ),
    Mistake(
        "of contradicting lines of one batch chance decides",
        f"{WORKER}/labels/importing.py",
        "history.append(as_imported(label))",
        "pass",
        "worker/test_import_corrections.py",
        "later_line",
    ),
    Mistake(
        "a sum counts the corrected label, too",
        f"{WORKER}/labels/label_sender.py",
        "        self._take_back(labels)\n",
        "",
        "worker/test_import_corrections.py",
        "every_reducer",
    ),
    Mistake(
        "a label that was taken back is told without a word",
        f"{WORKER}/labels/importing.py",
        "before.record is not None and is_covered",
        "before.record is None and is_covered",
        "worker/test_import_ruled.py",
        "taken_back",
    ),
    Mistake(
        "the twelfth of December settles which comes first, day or month",
        f"{WORKER}/labels/time_survey.py",
        "if days.first > 12:",
        "if days.first >= 12:",
        "worker/test_label_cells.py",
        "order",
    ),
    Mistake(
        "1,234 is taken for a number that nobody told",
        f"{WORKER}/labels/value_survey.py",
        "if point == comma and (either",
        "if False and (either",
        "worker/test_label_cells.py",
        "open",
    ),
    Mistake(
        "the password of a query's URL is shown",
        f"{WORKER}/labels/sql_query.py",
        "self.name = shown_url(url)",
        "self.name = url",
        "worker/test_import_sources.py",
        "password",
    ),
    # Further ones, in the worker and the sinks.
    Mistake(
        "Redis is told before the sink has it",
        f"{WORKER}/drain/drain_batch.py",
        "        merged, refused = await merge_each(work.sink, emitted)\n",
        "        await work.source.settle(Settlement(in_rows=[e for es in batch.by_key.values() for e in es]))\n"
        "        merged, refused = await merge_each(work.sink, emitted)\n",
        "faults/test_crash_points.py worker/test_cycle.py",
        "crash_point or sink",
    ),
    Mistake(
        "an entry that another worker has ended is counted again",
        f"{WORKER}/drain/settle.lua",
        "redis.call('XDEL', pending, unpack(ARGV, first, last))",
        "redis.call('XDEL', pending, unpack(ARGV, first, last)) * 0 + last - first + 1",
        "faults worker/test_cycle.py",
        "crash_point or interleaving or twice",
    ),
    Mistake(
        "an abandoned claim is left alone",
        f"{WORKER}/drain/group.py",
        "            if claimed := _entries(replies):\n                yield claimed\n",
        "            claimed = replies\n",
        "faults/test_crash_points.py worker/test_group.py",
        "crash_point or claim or lease",
    ),
    Mistake(
        "a stopped worker keeps its claims until the lease ends",
        f"{WORKER}/drain/cycle.py",
        "    released = await reader.give_back()\n",
        "    released = 0\n",
        "worker/test_cycle.py worker/test_main.py",
        "cancel or stop or release",
    ),
    Mistake(
        "of a record that is read a second time what it held before is forgotten",
        f"{WORKER}/drain/batch.py",
        "            if not found.payloads.keys() >= before.payloads.keys():\n                return False\n",
        "",
        "worker/test_batches.py",
        "between_two_claims",
    ),
    Mistake(
        "what was claimed ahead is not given back",
        f"{WORKER}/drain/batch.py",
        "filter(None, (self._handed_on, self._filling))",
        "filter(None, (self._handed_on,))",
        "worker/test_batches.py worker/test_guard.py",
        "while_the_sink_writes or adopted",
    ),
    Mistake(
        "a plain record's late feedback counts",
        f"{WORKER}/law/row.py",
        "        if predicted_at is not None and at - predicted_at > timedelta(seconds=rules.join_window_s):",
        "        if False:",
        "worker/test_row.py",
        "plain_way or window",
    ),
    Mistake(
        "one row that the sink refuses takes its batch with it",
        f"{WORKER}/drain/refusals.py",
        "    first, refused = await merge_each(sink, records[:middle])\n",
        '    return Merged(), {record.join_key: "refused" for record in records}\n'
        "    first, refused = await merge_each(sink, records[:middle])\n",
        "worker/test_cycle.py",
        "refuse or poison",
    ),
    Mistake(
        "feedback at the very end of the window is late",
        f"{WORKER}/law/counting.py",
        "if delay <= window:",
        "if delay < window:",
        "worker/test_row.py test_any_order.py",
        "window or late",
    ),
    Mistake(
        "two events under one id: the last one read counts",
        f"{WORKER}/law/record.py",
        "        if a[event_id] != b[event_id]:",
        "        if False:",
        "worker/test_fold.py",
        "merge",
    ),
    Mistake(
        "the identity of a lake's batch depends on the order of its rows",
        f"{WORKER}/sinks/event_log.py",
        "ordered = sorted(sorted(identities, key=itemgetter(1)))",
        "ordered = list(identities)",
        "sinks",
        "again or repetition or committed_once",
    ),
    Mistake(
        "a directory's file has its name before it is on disk",
        f"{WORKER}/sinks/directory.py",
        "                os.fsync(file.fileno())\n",
        "",
        "sinks/test_directories.py",
        "disk or directories",
    ),
    Mistake(
        "two embedded servers that start at once take one port",
        f"{WORKER}/embedded.py",
        "ValkeyServer(port=port, **config)",
        "ValkeyServer(**config)",
        "test_tools.py",
        "start_at_once",
    ),
    # Rules per field, sources, retractions that name events.
    Mistake(
        "a retraction that is taken back still takes others back",
        f"{WORKER}/law/counting.py",
        "if event_id not in void:\n            void.update",
        "if True:\n            void.update",
        "worker/test_row.py test_any_order.py",
        "taken_back or any_partition",
    ),
    Mistake(
        "a default overrules what was told",
        f"{WORKER}/law/verdict.py",
        "for name, maturity in rules.defaults.items() if name not in valid}",
        "for name, maturity in rules.defaults.items()}",
        "worker/test_row.py docs/test_rules_doc.py sinks/test_conformance.py",
        "maturity or moments or mature_by",
    ),
    Mistake(
        "a client says of every event that an older worker may read it",
        f"{CLIENT}/events.py",
        "v=wire.PLAIN_VERSION if source is None else wire.WIRE_VERSION",
        "v=wire.PLAIN_VERSION",
        "client/test_wire.py",
        "newer_version",
    ),
    Mistake(
        "a deployment of new rules counts as a dispute",
        f"{WORKER}/notes/rules_in_use.py",
        "if before and use.last > before}",
        "if not before or use.last > before}",
        "worker/test_field_rules.py",
        "rules or differ",
    ),
    Mistake(
        "the digest of the rules leaves the sources out",
        f"{WORKER}/law/rules.py",
        "sources=field.sources,",
        "sources=[],",
        "worker/test_config.py sinks/test_conformance.py",
        "digest or sources_in",
    ),
    # What an operator is told.
    Mistake(
        "an event of a newer client counts as the oldest that waits",
        f"{WORKER}/operating/glance.lua",
        "    if pair[1] == parked then\n",
        "    if false then\n",
        "worker/test_overview.py worker/test_troubles.py",
        "newer or trouble",
    ),
    Mistake(
        "a drain that failed is noted as a good one",
        f"{WORKER}/drain/drainer.py",
        "for application, _ in (work if away else allowed)} - failed.keys()",
        "for application, _ in (work if away else allowed)}",
        "worker/test_overview.py",
        "sink_that_is_down",
    ),
    Mistake(
        "a full Redis forgets its drains",
        f"{WORKER}/notes/drains.lua",
        "redis.call('HDEL', KEYS[1], '')\n",
        "",
        "worker/test_overview.py",
        "full_redis",
    ),
    Mistake(
        "evictions of long ago are an alarm for ever",
        f"{WORKER}/notes/health.py",
        "before = 0 if (may_evict and known is None) or",
        "before = 0 if known is None or",
        "worker/test_overview.py worker/test_status.py",
        "evict or changes or conditions",
    ),
    Mistake(
        "a night without labels is the longest silence ever",
        f"{WORKER}/operating/judging.py",
        "and watched_s > OBSERVED_SILENCES * silent_s",
        "",
        "worker/test_overview.py",
        "longer_than_ever",
    ),
    Mistake(
        "letters that were dropped are new for a day",
        f"{WORKER}/operating/overview.py",
        "        new, are_more = await new_letters(redis, tag, day_ago)\n",
        '        new = Counter({name: one.of_day(f"dead:{name}") for name in one.books.dead_by_reason})\n'
        "        are_more = False\n",
        "worker/test_overview.py",
        "letters",
    ),
    Mistake(
        "a dead worker's claim is somebody's who writes it now",
        f"{WORKER}/operating/verdict.py",
        "if (entry.claimed_s or 0) >= LEASE_S]",
        "if False]",
        "worker/test_explain.py worker/test_troubles.py",
        "queue or trouble",
    ),
    Mistake(
        "late feedback is told as an unlabelled row",
        f"{WORKER}/operating/verdict.py",
        'row.status != "joined"',
        'row.status not in ("joined", "unlabelled")',
        "worker/test_troubles.py",
        "trouble",
    ),
    Mistake(
        "a purge leaves what waits",
        f"{WORKER}/operating/purging.py",
        '        await redis.execute_command("DEL", *wire.keys_of(tag))\n',
        "",
        "worker/test_explain.py",
        "purge",
    ),
    Mistake(
        "the doctor asks for no right to claim",
        f"{WORKER}/operating/tried_rights.py",
        '        ("XAUTOCLAIM", pending, group, "c", "0", "0"),\n',
        "",
        "sinks/test_change_of_sink.py",
        "without_rights",
    ),
    Mistake(
        "a backlog after an outage counts as a clock that is behind",
        f"{WORKER}/operating/client_clocks.py",
        "arrived_over >= BEHIND_OVER_MIN and most - least <= arrived_over / 2",
        "arrived_over >= BEHIND_OVER_MIN",
        "worker/test_clocks.py",
        "whether",
    ),
    Mistake(
        "a counter of received events is set to the wrong sign",
        f"{WORKER}/notes/accounting.py",
        '-difference if name.startswith("received:") else difference',
        "difference",
        "worker/test_isolation.py",
        "mends",
    ),
    Mistake(
        "a key that a rule hashes is called sampled out",
        f"{WORKER}/operating/verdict.py",
        "around.is_sampled_out and not found.are_digests",
        "around.is_sampled_out",
        "worker/test_explain.py",
        "hashes",
    ),
]


def copy_of_the_tree(folder: Path) -> Path:
    """Copy what git knows, as it is now, changes that are not committed included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    return folder


def run_tests(tree: Path, where: str, expression: str) -> tuple[int, str]:
    """Run these tests on this tree; return pytest's exit code and its last line."""
    # No bytecode: it is told from older one by its second and its size, and a mistake may change neither.
    sources = f"{tree / 'client'}{os.pathsep}{tree / 'worker'}"
    environment = os.environ | {"PYTHONPATH": sources, "PYTHONDONTWRITEBYTECODE": "1"}
    places = [f"tests/{place}" for place in where.split()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", expression, *places]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, timeout=TESTS_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return 1, f"not within {TESTS_TIMEOUT_S:.0f} s"
    return done.returncode, (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]


def plant(mistake: Mistake, tree: Path, without: tuple[int, str]) -> str:
    """Return "seen", or why the mistake does not count as such."""
    code, said = without
    if code == 5:
        return f"NO TEST matches {mistake.seen_by!r}"
    if code != 0:
        return f"RED WITHOUT IT: {said}"
    path = tree / mistake.file
    text = path.read_text()
    if text.count(mistake.right) != 1:
        return f"STALE: {mistake.file} has its text {text.count(mistake.right)} times"
    path.write_text(text.replace(mistake.right, mistake.wrong))
    try:
        code, said = run_tests(tree, mistake.where, mistake.seen_by)
    finally:
        path.write_text(text)
    return "seen" if code == 1 else f"NOT SEEN: {said}"


def main(words: list[str]) -> int:
    chosen = [mistake for mistake in MISTAKES if not words or any(word in mistake.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="joinback-planted-") as folder:
        tree = copy_of_the_tree(Path(folder))
        without = cache(lambda where, expression: run_tests(tree, where, expression))
        verdicts = []
        for mistake in chosen:
            verdicts.append(plant(mistake, tree, without(mistake.where, mistake.seen_by)))
            print(f"{verdicts[-1]:12} {mistake.name}", flush=True)
    seen = verdicts.count("seen")
    print(f"{seen} of {len(verdicts)} mistakes seen")
    return int(seen < len(verdicts))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
