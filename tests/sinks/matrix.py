"""The matrix of docs/explanation/sinks-compared.md, from a run of the suite: which case is green on which engine.

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
DOC = ROOT / "docs" / "explanation" / "sinks-compared.md"
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
    """Return a line per case: how many of its tests passed; where engines differ, by engine."""
    proves = sentences()
    lines = ["| case | tests per sink |", "| --- | ---: |"]
    for case, engines in results().items():
        passed = {name: engines.get(name, "-") for name in ENGINES}
        same = len(set(passed.values())) == 1
        cell = passed.popitem()[1] if same else ", ".join(f"{name} {number}" for name, number in passed.items())
        lines.append(f"| {proves[case]} | {cell} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    before, _, rest = DOC.read_text().partition(BEGIN)
    DOC.write_text(before + BEGIN + table() + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
