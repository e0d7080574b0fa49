"""Pictures of terminals: what the commands print of the store in troubled.py, at 80 and at 120 columns.

python tests/terminals.py   # writes them into docs/images, as docs/how-to/operate.md shows them
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from itertools import pairwise
from pathlib import Path

import redis
from troubled import plant

from joinback.settings import Settings

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COMMANDS = {"status": ("status",), "explain": ("explain", "loans", "late"), "doctor": ("doctor",)}
"""Name of the picture -> the command. `status` comes first: its rates are unknown for some minutes only."""
WIDTHS = (80, 120)
NIGHT = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
"""The time that the pictures show as now."""


def printed(command: tuple[str, ...], columns: int, environment: Mapping[str, str]) -> str:
    """Return what the command prints into a terminal of this width, with its escape codes."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    own = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    own |= {"TERM": "xterm-256color"}
    argv = [sys.executable, "-m", "joinback_worker", *command]
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=own):
        os.close(theirs)
        said = b"".join(_chunks(ours))
    os.close(ours)
    return said.decode().replace("\r\n", "\n")


def _chunks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(terminal, 65_536)
        except OSError:  # so Linux says that the last process has closed it
            return
        if not chunk:
            return
        yield chunk


def steady(text: str, settings: Settings) -> str:
    """Return the text with whatever differs from run to run replaced: times, ports, paths, ids, sizes."""
    now = datetime.now(UTC)
    for old, new in (
        (settings.sink_url, "sqlite:////var/lib/joinback.db"),
        (settings.sink_url.removeprefix("sqlite:///"), "/var/lib/joinback.db"),
        (str(settings.config), "/etc/joinback.toml"),
    ):
        text = text.replace(old, new)
    text = re.sub(r"-h 127\.0\.0\.1 -p \d+", "-h cache", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "cache:6379", text)
    text = re.sub(r"20\d\d-\d\d-\d\d(?:([T ])\d\d:\d\d:\d\d(?:\.\d+)?)?", lambda found: _at(found, now), text)
    text = re.sub(r"\b\d{13}-\d+", _in_order("1795921200000-{}"), text)
    text = re.sub(r"\b[0-9a-f]{12}-\d+", _in_order("5d1f0a9c2b7e-{}"), text)
    text = re.sub(r"\b[0-9a-f]{12}…", "5d1f0a9c2b7e…", text)
    text = re.sub(r"version \d+\.\d+\.\d+", "version 9.1.2", text)
    text = re.sub(r"[\d.]+ MB of [\d.]+ MB", "2.08 MB of 2.29 MB", text)
    text = re.sub(r"uses\s+\d+% of", "uses 91% of", text)
    # Durations grow while the commands run. In a table they keep their width.
    text = re.sub(r"\b6\d min\b", "61 min", text)
    text = re.sub(r"\b(oldest\s+for|drain\s+ended|down,)\s+1\s+h(?:\s+\d+\s+min)?", r"\1 1 h 1 min", text)
    text = re.sub(r"\bfor\s+5\s+h(?:\s+\d+\s+min)?", "for 5 h", text)
    text = re.sub(r"\b1[0-2]\s+min(?:\s+\d+\s+s)?\s+ahead", "12 min ahead", text)
    text = re.sub(r"within\s+\d+\s+s\b", "within 1 s", text)
    return re.sub(r" *\b(?<!within )(?:\d{1,2}|1[01]\d) s\b", lambda found: f"{'9 s':>{len(found[0])}}", text)


def _at(found: re.Match[str], now: datetime) -> str:
    """Return a time as far from NIGHT as it was from now, to the hour."""
    if found[1] is None:
        ago = timedelta(days=(now.date() - datetime.fromisoformat(found[0]).date()).days)
        return f"{NIGHT - ago:%Y-%m-%d}"
    ago_h = round((now - datetime.fromisoformat(found[0]).replace(tzinfo=UTC)) / timedelta(hours=1))
    return f"{NIGHT - timedelta(hours=ago_h):%Y-%m-%d{found[1]}%H:%M:%S}"


def _in_order(form: str) -> Callable[[re.Match[str]], str]:
    """Return a replacement that numbers the ids in the order in which they come."""
    seen: dict[str, str] = {}
    return lambda found: seen.setdefault(found[0], form.format(len(seen)))


CHARACTER_PX, LINE_PX, MARGIN_PX = 8.4, 18, 14
"""At 14 px, common monospaced fonts are 8.4 px wide. `textLength` makes the others fit."""

FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<title>{title}</title>
<rect width="{width}" height="{height}" rx="6" fill="#1b1e24"/>
<g font-family="ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="14" fill="#d8dee9">
{drawn}
</g>
</svg>
"""


def picture(command: tuple[str, ...], text: str, columns: int) -> str:
    """Return an SVG of a terminal of this width, in which the command has printed this text."""
    lines = list(_wrapped(f"\x1b[1m$ joinback {' '.join(command)}\x1b[0m\n{text.rstrip()}", columns))
    width, height = round(columns * CHARACTER_PX) + 2 * MARGIN_PX, len(lines) * LINE_PX + 2 * MARGIN_PX
    drawn = []
    for row, line in enumerate(lines):
        for column, is_bold, part in _parts(line):
            place = f'x="{MARGIN_PX + column * CHARACTER_PX:.1f}" y="{MARGIN_PX + row * LINE_PX + 14}"'
            weight = ' font-weight="bold"' if is_bold else ""
            length = f'textLength="{len(part) * CHARACTER_PX:.1f}"'
            drawn.append(f"<text {place} {length}{weight}>{escape(part, quote=False)}</text>")
    return FRAME.format(
        title=escape(f"joinback {' '.join(command)}, at {columns} columns"),
        width=width,
        height=height,
        drawn="\n".join(drawn),
    )


Styled = list[tuple[str, bool]]
"""The characters of a line, each with whether it is bold."""


def _wrapped(text: str, columns: int) -> Iterator[Styled]:
    """Yield the lines as a terminal wraps them: at the last column, even within a word."""
    is_bold = False
    for line in text.split("\n"):
        styled: Styled = []
        for code, character in re.findall(r"\x1b\[([\d;]*)m|(.)", line):
            if character:
                styled.append((character, is_bold))
            else:
                is_bold = code == "1"
        while styled and styled[-1][0] == " ":
            styled.pop()
        for first in range(0, max(1, len(styled)), columns):
            yield styled[first : first + columns]


def _parts(line: Styled) -> Iterator[tuple[int, bool, str]]:
    """Yield column, style and text of each part of one style. It ends at two blanks: viewers make one of them."""
    text = "".join(character for character, _ in line)
    bounds = {0, len(line), *(n for n in range(1, len(line)) if line[n][1] != line[n - 1][1])}
    for first, last in pairwise(sorted(bounds)):
        for found in re.finditer(r"\S+(?: \S+)*", text[first:last]):
            yield first + found.start(), line[first][1], found[0]


def text_of(svg: str) -> str:
    """Return all text of a picture without blanks: where a line ends depends on the width of what was replaced."""
    return "".join(unescape("".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))).split())


def pictures(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return name -> SVG for each command and width, of the store that these settings name."""
    found = {}
    for name, command in COMMANDS.items():
        for columns in WIDTHS:
            text = steady(printed(command, columns, environment), settings)
            found[f"{name}-{columns}.svg"] = picture(command, text, columns)
    return found


def main() -> None:
    from joinback_worker.embedded import embedded_valkey

    with embedded_valkey() as url, tempfile.TemporaryDirectory() as folder, redis.Redis.from_url(url) as server:
        settings = plant(Settings(redis_url=url, sink_url=f"sqlite:///{folder}/joinback.db"), server)
        names = {"JOINBACK_REDIS_URL": url, "JOINBACK_SINK_URL": settings.sink_url}
        own = os.environ | names | {"JOINBACK_CONFIG": str(settings.config)}
        for name, svg in pictures(settings, own).items():
            (IMAGES / name).write_text(svg)


if __name__ == "__main__":
    main()
