"""A store with every kind of trouble: for each the command that a person runs first names it."""

import redis
from conftest import Cli
from troubled import TROUBLES, plant

from joinback.settings import Settings


def test_each_trouble_is_named_at_first_try(settings: Settings, server: redis.Redis, cli: Cli) -> None:
    """Every planted trouble is in the answer of its command, and each verdict on a key is the first line."""
    planted = plant(settings, server)
    try:
        commands = dict.fromkeys(trouble.command for trouble in TROUBLES)
        answers = {command: cli(*command, JOINBACK_CONFIG=str(planted.config)) for command in commands}
    finally:
        server.config_set("maxmemory", 0)
        server.config_set("maxmemory-policy", "noeviction")
    told = {command: done.stdout for command, done in answers.items()}
    for trouble in TROUBLES:
        shown = told[trouble.command]
        assert trouble.says in (shown.partition("\n")[0] if trouble.is_first_line else shown), (trouble.what, shown)
    assert (answers[("status",)].returncode, answers[("doctor",)].returncode) == (1, 1)
    assert not any("Traceback" in done.stderr for done in answers.values())
