"""`joinback sink views APP`: make a typed view of an application in the sink, or print its SQL."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from joinback.settings import Settings, settings_from
from joinback_worker.config.rules_file import policy_of
from joinback_worker.flat.views import ENGINES, View, name_of, renamed, statements, view_of
from joinback_worker.sinks import open_sink, shown

from .show import printable
from .sink_url import SinkCommand, url_of

_WHO_READS = {
    "postgres": "readers need: GRANT SELECT ON {name} TO …",
    "clickhouse": "readers need: GRANT SELECT ON {name} TO …, and the grants of `joinback sink schema`",
}
_NAMES = {"inputs": "the input", "outputs": "the output", "feedback": "the feedback"}


@click.command("views", cls=SinkCommand, short_help="Make a typed view of an application.")
@click.argument("application")
@click.argument("url", required=False)
@click.option("--name", "given", metavar="NAME", help="The name of the view. [default: made from APPLICATION]")
@click.option("--print", "only_print", is_flag=True, help="Print the SQL, and change nothing.")
def views(application: str, url: str | None, given: str | None, only_print: bool) -> None:
    """Make a view of APPLICATION with one typed column per input, output and feedback field. Run it again when there
    are new fields.

    The types are those that the file of JOINBACK_CONFIG declares, else those of a sample of the rows. For a lake or
    files it prints the SQL for DuckDB: `(joinback sink schema; joinback sink views APP) | duckdb loans.duckdb`.
    """
    settings = settings_from()
    url = url_of(url, settings)
    name = name_of(application, given)
    engine = ENGINES.get(url.partition(":")[0])
    if engine is None:
        raise click.UsageError("this sink keeps no rows that a view could show")
    prints = only_print or engine == "duckdb"
    view = asyncio.run(_make(settings, url, application, name, engine, prints=prints))
    if prints:
        sql = statements(view, engine)
        if engine in ("sqlite", "postgres"):
            sql = ["BEGIN", *sql, "COMMIT"]
        click.echo(";\n".join(sql) + ";")
    for line in _lines(view, engine, url, prints=prints):
        click.echo(printable(line, markup=False), err=prints)


async def _make(settings: Settings, url: str, application: str, name: str, engine: str, *, prints: bool) -> View:
    policy = policy_of(settings, application, datetime.now(UTC))
    # Read-only first: a sink that does not exist is an error, and must not be made.
    async with open_sink(url, policy, read_only=True) as sink:
        view = await view_of(sink, application, policy.rules, name)
    if not prints and (view.before is None or view.added or view.retyped):
        async with open_sink(url, policy) as sink:
            await sink.run_sql(statements(view, engine))
    return view


def _lines(view: View, engine: str, url: str, *, prints: bool) -> Iterator[str]:
    made = "printed" if prints else "made" if view.before is None else "made anew"
    if not prints and view.before is not None and not view.added and not view.retyped:
        made = "unchanged"
    yield f"view {view.name} in {shown(url)}: {made}, {len(view.columns)} typed columns, from a sample of" + (
        f" {view.survey.rows:,} rows"
    )
    if view.before is not None and view.added:
        yield f"added: {', '.join(column.name for column in view.added)}"
    for old, new in view.retyped:
        yield f"type changed: {new.name}, {old.kind} before, {new.kind} now" + (
            "; grants on the view must be given again" if engine == "postgres" else ""
        )
    for column in renamed(view.columns):
        yield f"{column.name} is {_NAMES[column.field.place]} field {column.field.key}"
    for field, count in sorted(view.survey.misfits.items()):
        yield f"{field}: {count:,} values of the sample are not of the declared type; they are NULL in the view"
    if view.survey.left_out:
        yield "left out: fields beyond the first 500; the JSON columns of `records` have them"
    if engine in _WHO_READS:
        yield _WHO_READS[engine].format(name=view.name)
