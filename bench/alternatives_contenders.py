"""Who takes part, and what of each is run, counted and asked. Imports none of them."""

import ast
import importlib.util
import io
import tokenize
from pathlib import Path
from typing import NamedTuple

from joinback import wire

HERE = Path(__file__).parent
APPLICATION = "loans"
TAG = wire.tag(APPLICATION)
DRAIN = ("-m", "joinback_worker", "drain")
BYTEWAX = ("-m", "bytewax.run", "-r", "recovery", "-s", "10", "-b", "0", "alternatives_bytewax")

ROWS = "select join_key, inputs, outputs, label from records"
PER_DAY = """
select date_trunc('day', predicted_at), count(*), avg((((outputs->>'score')::float > 0.5)::int = label)::int)
from records group by 1 order by 1
"""
OUR_ROWS = "select join_key, inputs, outputs, (feedback->>'label')::int from records where status <> 'orphan'"
OUR_PER_DAY = """
select date_trunc('day', predicted_at), count(*),
    avg((((outputs->>'score')::float > 0.5)::int = (feedback->>'label')::int)::int)
from records where application = 'loans' group by 1 order by 1
"""
OUR_ROWS_IN_SQLITE = """
select join_key, inputs, outputs, json_extract(feedback, '$.label') from records where status <> 'orphan'
"""
OUR_PER_DAY_IN_SQLITE = """
select date(predicted_at), count(*), avg((json_extract(outputs, '$.score') > 0.5) = json_extract(feedback, '$.label'))
from records where application = 'loans' group by 1 order by 1
"""


class Contender(NamedTuple):
    name: str
    module: str
    """What the service imports: predict, label, close."""
    files: tuple[str, ...]
    """What its user writes."""
    package: str
    """What must be installed for it, by the name it is imported by."""
    job: tuple[str, ...] | None
    """What joins, as arguments of Python; None where a view does."""
    once: bool = False
    """Whether it runs on, so that one run gets all phases."""
    horizon: str = ""
    """The keys that Redis lets go after a week, as a pattern."""
    dies_in: str = ""
    """What writes rows: it is killed before and after its first call."""
    sqlite: bool = False
    rows: str = ROWS
    per_day: str = PER_DAY

    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def lines(self) -> int:
        return sum(lines_of_code((HERE / file).read_text()) for file in self.files)


PANDAS = Contender(
    "redis-py, pandas, to_sql",
    "alternatives_pandas",
    ("alternatives_pandas.py",),
    "pandas",
    ("alternatives_pandas.py",),
    horizon="prediction:*",
    dies_in="pandas.DataFrame.to_sql",
)
VIEW = Contender("PostgreSQL and a view", "alternatives_postgres", ("alternatives_postgres.py",), "psycopg", None)
BATCHES = Contender(
    "the same, in batches",
    "alternatives_batches",
    ("alternatives_postgres.py", "alternatives_batches.py"),
    "psycopg",
    None,
)
STREAM = Contender(
    "Bytewax, a window of a week",
    "alternatives_bytewax",
    ("alternatives_bytewax.py",),
    "bytewax",
    BYTEWAX,
    once=True,
    dies_in="alternatives_bytewax.Upserts.write_batch",
)
OURS = Contender(
    "Joinback into PostgreSQL",
    "alternatives_ours",
    ("alternatives_ours.py",),
    "joinback_worker",
    DRAIN,
    horizon=wire.record_key(TAG, "*"),
    dies_in="joinback_worker.sinks.on_thread.SinkOnThread.merge",
    rows=OUR_ROWS,
    per_day=OUR_PER_DAY,
)
OURS_IN_SQLITE = OURS._replace(
    name="Joinback into SQLite", sqlite=True, rows=OUR_ROWS_IN_SQLITE, per_day=OUR_PER_DAY_IN_SQLITE
)
CONTENDERS = {one.name: one for one in (PANDAS, VIEW, BATCHES, STREAM, OURS, OURS_IN_SQLITE)}


def lines_of_code(source: str) -> int:
    """Return how many lines hold code: not those that are blank, or hold a comment or a docstring alone."""
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in ignored:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)
