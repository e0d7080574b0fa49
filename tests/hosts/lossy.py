"""A service whose every request logs one event with a key that is none."""

import os

import joinback


def wsgi(environ, start_response):
    joinback.log_record("loans", feedback={"ok": True}, join_key="")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
