"""A report as one file to mail: its style and pictures stand in it, and nothing comes from elsewhere, no script."""

from base64 import b64encode
from hashlib import sha256

from markupsafe import Markup

from joinback_worker.answers.report import Report

from .render import STATIC, rendered
from .reporting import shown


def page(report: Report) -> str:
    """Return the page. Whatever came from elsewhere is escaped, and its policy lets nothing run or load."""
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    # Our own file; it has no `</style>`.
    return rendered("mailed.html", view=shown(report, days_max=None), style=Markup(style), policy=policy, place=None)  # noqa: S704
