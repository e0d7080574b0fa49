"""Run examples/late_labels.ipynb in a process of its own: `python tests/notebook.py NAMES`, a file for what it made.

A kernel's work without a kernel: a cell runs in the names of those before, and may await. With UPDATE_DOCS=1 what the
cells print is written into the notebook; else it must be what stands there.
A process of its own, as fakeredis's server waits by `select`, which ends at 1,024 open files, and a process that has
used chDB may have thousands.
"""

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import pickle
import sys
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[1] / "examples" / "late_labels.ipynb"
KEPT = ("table", "naive", "cases", "curve")
"""What the tests look at."""


def main(names_path: Path) -> None:
    notebook = json.loads(PATH.read_text())
    names: dict[str, Any] = {}
    try:
        for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
            run(number, cell, names)
    finally:
        # Its last cell does, unless one before it failed.
        if "folder" in names:
            names["folder"].cleanup()
    if os.environ.get("UPDATE_DOCS"):
        PATH.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    names_path.write_bytes(pickle.dumps({name: names[name] for name in KEPT}))


def run(number: int, cell: dict[str, Any], names: dict[str, Any]) -> None:
    code = compile("".join(cell["source"]), f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        done = eval(code, names)
        if inspect.iscoroutine(done):
            asyncio.run(done)
    printed = out.getvalue().splitlines(keepends=True)
    shown = [{"name": "stdout", "output_type": "stream", "text": printed}] if printed else []
    if os.environ.get("UPDATE_DOCS"):
        cell["outputs"] = shown
    else:
        assert cell["outputs"] == shown, (number, shown)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
