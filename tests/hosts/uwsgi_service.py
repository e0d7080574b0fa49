"""A service under uWSGI's prefork: logs at import, before uWSGI forks, and a prediction per request after it."""

import os

import joinback

IMPORTED = joinback.log_record("loans", inputs={}, outputs=0)
"""Forces the ids, the buffer and the thread to be there before the fork."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    # No key of its own: it must differ from process to process.
    key = joinback.log_record("loans", inputs={"path": environ["PATH_INFO"]}, outputs=0.5)
    joinback.log_record("loans", feedback={"ok": True}, join_key="shared")
    return [f"{os.getpid()} {key}".encode()]
