"""`joinback config`: check the file of rules, or draft a first one."""

import json
import sys
from pathlib import Path
from shlex import quote
from typing import Any

import click
import msgspec
from redis.asyncio import Redis

from joinback.errors import JoinbackError
from joinback.settings import settings_from
from joinback_worker.by_hand.config_draft import ROWS, draft
from joinback_worker.config.rules_file import look
from joinback_worker.config.shown import Holding, Names, holding, names, otherwise
from joinback_worker.notes.layouts import applications

from .show import printable, warn_of_path
from .with_redis import with_redis


@click.group(short_help="Check the file of rules, or draft a first one.")
def config() -> None:
    """Check the file of rules that JOINBACK_CONFIG names, or draft a first one."""


@config.command(short_help="Print the rules of each application, and who sets them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(as_json: bool) -> None:
    """Print the rules of each application and feedback field, and for each rule the line or the setting that sets it.

    If no worker would start with the file, it prints each mistake with its line instead, and the exit code is 2.
    """
    settings = settings_from()
    found, problems = look(settings)
    logged: Names | None = None
    unasked = None
    try:
        logged = names(found, with_redis(settings, _applications))
    except JoinbackError as error:
        unasked = str(error)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "config": found.path,
                    "problems": problems,
                    "applications": msgspec.to_builtins(holding(found)),
                    "otherwise": msgspec.to_builtins(otherwise(found)),
                    "redis": unasked if logged is None else msgspec.to_builtins(logged),
                }
            )
        )
    elif problems:
        for problem in problems:
            click.echo(printable(problem, markup=False), err=True)
        click.echo("joinback: no worker starts with this file", err=True)
    else:
        lines = [found.path or "JOINBACK_CONFIG is not set: the same rules hold for all applications"]
        for name, application in holding(found).items():
            lines += _lines(name, application)
        lines += _lines("all others" if found.path else "all", otherwise(found))
        lines += [f"Redis did not say which applications exist: {unasked}"] if unasked else []
        lines += _names_lines(logged) if logged and found.path else []
        for line in lines:
            click.echo(printable(line, markup=False))
    if problems:
        sys.exit(2)


@config.command(short_help="Draft a first file of rules from the rows in the sink.")
@click.argument("application")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file, which must not exist yet.")
@click.option("--rows", type=click.IntRange(1), default=ROWS, show_default=True, help="Labelled rows to look at.")
def init(application: str, output: Path | None, rows: int) -> None:
    """Draft a first file of rules for APPLICATION, from the rows in the sink. Read the draft and change it.

    More rows take longer and seldom change the draft.
    """
    settings = settings_from()
    warn_of_path(settings.sink_url)
    if output is not None and output.exists():
        raise JoinbackError(f"{output} exists already; give another name")
    text = draft(settings, application, rows)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise JoinbackError(f"{output} cannot be written: {error.strerror}") from None
    checking = f"JOINBACK_CONFIG={quote(str(output))} joinback config check"
    click.echo(printable(f"wrote {output}; next: {checking}", markup=False))


async def _applications(redis: Redis) -> list[str]:
    return sorted(await applications(redis))


def _lines(name: str, application: Holding) -> list[str]:
    shown = [(f"{one.name} = {_value(one.value)}", one.said) for one in application.holds]
    width = max(len(text) for text, _ in shown)
    return [f"{name}  rules {application.digest}", *(f"  {text:{width}}  {where}" for text, where in shown)]


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _names_lines(found: Names) -> list[str]:
    lines = []
    if found.without_rules:
        lines.append(f"without rules of their own: {', '.join(found.without_rules)}")
    for name, near in found.not_logged.items():
        fix = f"did you mean {near}?" if near else "its rules apply from its first event on"
        lines.append(f"{name} has not logged yet; {fix}")
    return lines
