"""A report as one file to mail. It contains its style and its pictures, loads nothing, and has no script."""

from base64 import b64encode
from hashlib import sha256

from markupsafe import Markup

from joinback_worker.answers.answer import Report

from .render import STATIC, rendered
from .reporting import shown


def page(report: Report) -> str:
    """Return the page. All text from elsewhere is escaped, and the policy of the page lets nothing run or load."""
    style = (STATIC / "style.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'"
    # The style is our own file, without `</style>`.
    return rendered("mailed.html", view=shown(report, days_max=None), style=Markup(style), policy=policy, place=None)  # noqa: S704
