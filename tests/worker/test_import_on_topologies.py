"""The import on a cluster, behind Sentinels, and while an application's shards change."""

from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack
from label_files import ROLES
from topologies import Cluster, Sentinels

import joinback
from joinback import wire
from joinback.settings import Settings

KEYS = [f"loan_{n}" for n in range(30)]

pytestmark = pytest.mark.heavy
"""CI's own step: it starts many processes."""


@pytest.fixture
def labels(tmp_path: Path) -> str:
    rows = "".join(f"{n},2026-02-01,1\n" for n in range(40))
    (tmp_path / "labels.csv").write_text("id,day,repaid\n" + rows)
    return "labels.csv"


class TestOnATopology:
    @pytest.fixture(params=["cluster", "sentinels"])
    def site(self, request: pytest.FixtureRequest) -> Cluster | Sentinels:
        found: Cluster | Sentinels = request.getfixturevalue(request.param)
        return found

    @pytest.fixture
    def settings(self, site: Cluster | Sentinels, tmp_path: Path) -> Settings:
        return Settings(redis_url=site.url, sink_url=f"sqlite:///{tmp_path}/joinback.db")

    def test_it_finds_and_tells(self, settings: Settings, cli: Cli, labels: str) -> None:
        """Where the records of an application are on several nodes, or behind Sentinels, all is as on one server."""
        client = joinback.Client().init(settings.redis_url, strict=True)
        for key in KEYS:
            client.log_record("loans", inputs=1, outputs=2, join_key=key)
        assert client.close(PATIENCE_S)
        assert cli("apps", "set", "loans", "--shards", "8").returncode == 0
        for counts in ("30  matched, written", "30  already there"):
            done = cli("import", "loans", labels, *ROLES)
            assert (done.returncode, done.stderr) == (1, "")
            assert counts in done.stdout
            assert "10  unmatched" in done.stdout
            assert cli("drain").returncode == 0


def test_shards_that_changed(stack: Stack, cli: Cli, labels: str) -> None:
    """Predictions under the former number of shards match, and labels under either are told once."""
    for key in KEYS:
        stack.client.log_record("loans", inputs=1, outputs=2, join_key=key)
    assert stack.client.flush(PATIENCE_S)
    assert "30  matched, written" in cli("import", "loans", labels, *ROLES).stdout
    assert cli("apps", "set", "loans", "--shards", "4").returncode == 0
    assert "30  already there" in cli("import", "loans", labels, *ROLES).stdout
    assert stack.server.exists(*(wire.record_key(wire.tag_of("loans", key, 4), key) for key in KEYS)) == 0
    stack.drain()
    assert {row["status"] for row in stack.rows()} == {"joined"}
