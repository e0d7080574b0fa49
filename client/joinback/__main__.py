"""`python -m joinback`: which version this is, where it would send, and what to do next."""

import sys

import joinback
from joinback.errors import ConfigurationError
from joinback.settings import check_redis_url, client_settings
from joinback.urls import shown_url

NEXT = """
In a service:    import joinback; joinback.log_record("app", inputs={"x": 1}, outputs=0.5, join_key="id")
The worker:      joinback worker     (or: python -m joinback_worker worker)
A look around:   joinback demo       All commands: joinback --help"""


def main() -> None:
    """Print the version, where events go, and what to do next. Does not connect."""
    if sys.argv[1:]:
        print(f"python -m joinback takes no arguments; write: joinback {' '.join(sys.argv[1:])}", file=sys.stderr)
        sys.exit(2)
    print(f"joinback {joinback.__version__}")
    try:
        settings, lines = client_settings()
        check_redis_url(settings.redis_url, "JOINBACK_REDIS_URL")
        lines.insert(0, f"Events of this environment go to {shown_url(settings.redis_url)}")
    except ConfigurationError as error:
        lines = [str(error)]
    print("\n".join([*lines, NEXT]))


if __name__ == "__main__":
    main()
