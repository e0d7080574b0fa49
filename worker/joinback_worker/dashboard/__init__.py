"""`joinback dashboard`: what `joinback report`, `status`, `explain` and `doctor` say, as pages. Reads only.

Arrows: `server -> app -> views -> pictures`; a view asks `answers` or `operating`, and a template writes what they say.
Nothing is kept between two requests.
"""
