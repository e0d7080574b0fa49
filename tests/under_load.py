"""Run README's test command again and again beside busy processes; nothing in it may need an idle machine.

python tests/under_load.py                      # 10 runs, 8 busy processes
python tests/under_load.py --runs 3 --busy 4 -- tests/test_hosts.py
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN_TIMEOUT_S = 3_600.0
"""Two cores shared by ten processes are a fifth as fast; beyond an hour something hangs."""


def test_command() -> list[str]:
    """Return the arguments that README's test command gives to pytest."""
    (arguments,) = re.findall(r"&& \.venv/bin/pytest (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)[:1]
    return str(arguments).split()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing, each as fast as it can; they end with the block, or a little after us."""
    # Should this process be killed, each notices that it has another parent.
    loop = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10_000_000): pass"
    started = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def run(command: list[str], log: Path) -> str:
    """Run the tests once; return pytest's last line, and `ok` or `FAILED` before it."""
    with log.open("w") as output:
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, timeout=RUN_TIMEOUT_S).returncode
        except subprocess.TimeoutExpired:
            return f"FAILED not within {RUN_TIMEOUT_S:.0f} s"
    last = log.read_text().strip().splitlines()[-1:] or ["no output"]
    return f"{'FAILED' if code else 'ok'} {last[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--busy", type=int, default=8)
    parser.add_argument("--logs", type=Path, default=Path("/tmp"), help="where each run's output goes")
    parser.add_argument("pytest", nargs="*", help="in place of README's arguments to pytest")
    given = parser.parse_args()
    command = [sys.executable, "-m", "pytest", *(["-q", "-n", "2", *given.pytest] if given.pytest else test_command())]
    failed = 0
    with busy(given.busy):
        for number in range(1, given.runs + 1):
            started = time.monotonic()
            log = given.logs / f"under_load_{number}.log"
            said = run(command, log)
            failed += said.startswith("FAILED")
            took_s = time.monotonic() - started
            print(f"{number}: {said} (beside {given.busy} busy processes; {took_s:.0f} s; {log})", flush=True)
    print(f"{given.runs - failed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
