"""The conformance matrix of docs/how-to/sinks.md, from a run of the suite: which case is green on which engine.

python tests/sinks/matrix.py     # runs the suite, and writes the table into the document
"""

import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from engines import ENGINES

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "how-to" / "sinks.md"
BEGIN, END = "<!-- matrix: python tests/sinks/matrix.py -->\n", "<!-- end of matrix -->\n"


def results() -> dict[str, dict[str, str]]:
    """Case -> engine -> how many of its tests passed; `-` where one failed or was skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        suite = ["-m", "pytest", "-q", "-m", "", "tests/sinks/test_conformance.py", f"--junitxml={report}"]
        subprocess.run([sys.executable, *suite], cwd=ROOT, check=False)
        passed: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
        for case in ElementTree.parse(report).iter("testcase"):
            name, _, parameters = case.attrib["name"].rstrip("]").partition("[")
            engine = parameters.partition("-")[0]
            if engine in ENGINES:
                passed[name][engine].append(len(case) == 0)
    return {
        case: {engine: str(len(ok)) if all(ok) else "-" for engine, ok in engines.items()}
        for case, engines in passed.items()
    }


def sentences() -> dict[str, str]:
    """What each case proves: its docstring."""
    text = (Path(__file__).with_name("test_conformance.py")).read_text()
    return dict(re.findall(r'^def (test_\w+)\(.*?^    """(.*?)"""', text, re.MULTILINE | re.DOTALL))


def table() -> str:
    proves = sentences()
    lines = ["| case | " + " | ".join(ENGINES) + " |", "| --- " * (len(ENGINES) + 1) + "|"]
    for case, engines in results().items():
        lines.append(f"| {proves[case]} | " + " | ".join(engines.get(name, "-") for name in ENGINES) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    before, _, rest = DOC.read_text().partition(BEGIN)
    DOC.write_text(before + BEGIN + table() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
