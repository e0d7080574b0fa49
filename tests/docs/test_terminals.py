"""The pictures of terminals in docs/images show what the commands print now, of the store in troubled.py."""

import redis
from conftest import process_environment
from terminals import COMMANDS, IMAGES, WIDTHS, pictures, text_of
from troubled import plant

from joinback.settings import Settings


def test_the_pictures_are_what_the_commands_print(settings: Settings, server: redis.Redis) -> None:
    """Each word of each picture is printed now, times replaced. To draw them anew: python tests/terminals.py."""
    # What tests before this one made Redis evict would be told too.
    server.config_resetstat()
    planted = plant(settings, server)
    try:
        drawn = pictures(planted, process_environment(planted, JOINBACK_CONFIG=str(planted.config)))
    finally:
        server.config_set("maxmemory", 0)
        server.config_set("maxmemory-policy", "noeviction")
    assert len(drawn) == len(COMMANDS) * len(WIDTHS)
    for name, svg in drawn.items():
        now, kept = text_of(svg), text_of((IMAGES / name).read_text())
        at = next((n for n, (a, b) in enumerate(zip(now, kept, strict=False)) if a != b), 0)
        assert now == kept, (name, now[max(0, at - 40) :][:200], kept[max(0, at - 40) :][:200])


def test_the_page_shows_each_picture() -> None:
    """docs/how-to/operate.md shows or links all of them."""
    page = (IMAGES.parent / "how-to" / "operate.md").read_text()
    assert {name for name in COMMANDS for width in WIDTHS if f"../images/{name}-{width}.svg" not in page} == set()
