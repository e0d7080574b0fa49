"""`joinback dashboard`: the answers of `joinback report`, `status`, `explain` and `doctor`, as pages. It only reads.

Imports go one way: `server -> app -> views -> pictures`. A view asks `answers` or `operating`, and a template shows
their answers. Nothing is kept between two requests.
"""
