"""A prediction service as WSGI and as ASGI, without a framework. Logs at import, before any server forks."""

import os
import re

import joinback

joinback.log_record("loans", inputs={}, outputs=0, join_key="import")


def log(path: str) -> bytes:
    """A prediction and its feedback for /<key>; says which process did it."""
    key = path.strip("/")
    joinback.log_record("loans", inputs={"path": path}, outputs=0.5, join_key=key)
    joinback.log_record("loans", feedback={"ok": True}, join_key=key)
    return b"%d" % os.getpid()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [log(environ["PATH_INFO"])]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    body = log(scope["path"])
    if re.match("/flushed", scope["path"]):
        body = b"%d" % await joinback.aflush()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
