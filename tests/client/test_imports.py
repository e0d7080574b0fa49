"""What is imported, when, and by which thread."""

import os
import subprocess
import sys

import pytest

LIGHT = """
import sys
import joinback
print(sorted({"redis", "asyncio", "ssl", "difflib"} & set(sys.modules)))
"""

BY_THREAD = """
import os, sys, threading

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            imported.append(name)

imported = []
sys.meta_path.insert(0, Watch())
import joinback

if os.environ["START"] == "init":
    joinback.init()
else:
    joinback.log_record("loans", inputs=1, outputs=2)
assert "redis" in sys.modules
joinback.log_record("loans", feedback={"paid": True}, join_key="k")
print(joinback.flush(float(os.environ["PATIENCE_S"])), imported)
"""


def python(code: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_joinback_is_light() -> None:
    """A service that imports it and never logs pays for neither redis-py nor asyncio nor ssl."""
    assert python(LIGHT) == "[]"


@pytest.mark.parametrize("start", ["init", "event"])
@pytest.mark.parametrize("place", ["there", "away", "tls"])
def test_the_senders_thread_imports_nothing(start: str, place: str, redis_url: str) -> None:
    """All is imported by `init` or the first event, in the caller's thread: a fork finds no import half done."""
    urls = {"there": redis_url, "away": "redis://localhost:1/0", "tls": redis_url.replace("redis:", "rediss:")}
    said = python(BY_THREAD, JOINBACK_REDIS_URL=urls[place], START=start, PATIENCE_S="20" if place == "there" else "1")
    assert said == f"{place == 'there'} []"
