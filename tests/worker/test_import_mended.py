"""What stops an import is one line with its fix, and nothing that drives a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Cli, Stack, process_environment
from label_files import ROLES, Imports, Labels, predict

from joinback.settings import Settings

MENDED: list[tuple[str, bytes, tuple[str, ...], str]] = [
    ("l.csv", b"id,day,repayed\n1,2026-01-01,1\n", (), "no column 'repaid'; did you mean 'repayed'? there are"),
    ("l.csv", b"ID,day,repaid\n1,2026-01-01,1\n", (), "no column 'id'; did you mean 'ID'?"),
    ("l.csv", b"id,day,repaid,repaid\n1,2026-01-01,1,1\n", (), "2 columns are named 'repaid'"),
    ("l.csv", b"", (), "l.csv is empty"),
    ("l.csv", b"\n\n", (), "l.csv is empty"),
    ("l.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", (), "l.csv is binary"),
    ("l.csv", b'id,day,repaid\n1,2026-01-01,"1\n' + b"x,y,z\n" * 3_000_000, (), "is a quote never closed?"),
    ("l.csv", b"id,day,repaid\n1,03/04/2026,1\n", (), "day first or month first?"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--encoding", "utf-9"), "no encoding 'utf-9'"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--time-zone", "Europe/Berln"), "did you mean Europe/Berlin?"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--type", "repaid=number"), "one of bool, int, float, str"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--type", "id=int"), "a join key is always read as text"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--report", "l.csv"), "--report would overwrite the source"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--report", "no/r"), "no/r cannot be written"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--key", "x{}"), "write only the name of a column between braces"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--key", "x{"), "is not a format"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--field", "x="), "write it as --field NAME=VALUE"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--key-field", "id"), "(the fields of JoinKey.from_dict), not both"),
    ("l.csv", b"id,day,repaid\n1,2026-01-01,1\n", ("--separator", "||"), "one character"),
    (
        "l.parquet",
        b"PAR1nothing",
        ("--separator", ";"),
        "--separator is for a CSV file, and l.parquet is a Parq",
    ),
    ("l.jsonl", b"{}\n", ("--encoding", "latin-1"), "--encoding is for a CSV file, and l.jsonl is a JSON Lines file"),
    (
        "l.csv",
        b"id,day,repaid\n1,2026-01-01,1\n",
        ("--sheet", "May"),
        "--sheet is for an Excel file, and l.csv is",
    ),
    ("l.gz", b"nothing", (), "the kind of l.gz is not known"),
    ("l.csv.gz", b"nothing", (), "cannot be read as CSV"),
    ("l.parquet", b"PAR1nothing", (), "l.parquet cannot be read as Parquet"),
    ("l.xlsx", b"PK nothing", (), "l.xlsx cannot be read as Excel's .xlsx"),
    ("l.jsonl", b"[1]\n", (), "l.jsonl is empty, or its first lines hold no JSON object"),
    ("l.dat", b"id", (), "the kind of l.dat is not known; add --format"),
]
"""Of a file: its name, its content, options, and what is said."""


def test_one_line_says_what_to_mend(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """A wrong name, file or option is one line and exit code 2; nothing is written, and nothing is a traceback."""
    predict(stack, "loan_1")
    commands = []
    for number, (name, content, options, _) in enumerate(MENDED):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(content)
        # --report names a file beside it.
        options = tuple(str(folder / option) if option in ("l.csv", "no/r") else option for option in options)
        commands.append(["loans", str(folder / name), *ROLES, *options])
    for ended, case in zip(imports(*commands), MENDED, strict=True):
        assert (ended.code, len(ended.stderr.splitlines())) == (2, 1), (case[0], case[2], ended)
        assert case[3] in ended.stderr
    assert stack.server.hlen(stack.record("loan_1")) == 1


def test_a_file_or_an_application_that_is_not_there(stack: Stack, imports: Imports, tmp_path: Path) -> None:
    """Both are one line with the fix; a directory is no file, and neither is a pipe, which cannot be read twice."""
    predict(stack, "loan_1")
    os.mkfifo(tmp_path / "pipe.csv")
    file, folder, pipe, application, variable = imports(
        ["loans", "nothing.csv", *ROLES],
        ["loans", str(tmp_path), *ROLES],
        ["loans", "pipe.csv", *ROLES],
        ["loan", "nothing.csv", *ROLES],
        ["loans", "NOTHING", "--sql", "select 1", *ROLES],
    )
    assert "there is no file nothing.csv" in file.stderr
    assert "is a directory; to load several" in folder.stderr
    assert "pipe.csv is not a file; write its content to a file first" in pipe.stderr
    assert "did you mean loans?" in application.stderr
    assert "NOTHING is not set" in variable.stderr


@pytest.mark.parametrize(
    ("module", "source", "extra"),
    [
        ("pyarrow", ("l.csv",), "import"),
        ("openpyxl", ("l.xlsx",), "excel"),
        ("sqlalchemy", ("l:", "--sql", "x"), "import"),
    ],
)
def test_a_reader_that_is_not_installed(
    stack: Stack, settings: Settings, tmp_path: Path, module: str, source: tuple[str, ...], extra: str
) -> None:
    """Without the extra the other commands run, and this one says in one line which to install."""
    predict(stack, "loan_1")
    for name in ("l.csv", "l.xlsx"):
        (tmp_path / name).write_text("id,day,repaid\n")
    hidden = f"import sys; sys.modules[{module!r}] = None; from joinback_worker.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "import", "loans", *source, *ROLES],
        env=process_environment(settings),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"joinback: this needs {module}; in Joinback's clone: pip install '.[{extra}]'\n"


def test_a_name_with_control_characters(stack: Stack, cli: Cli, labels: Labels) -> None:
    """A column's name cannot drive the terminal, neither in an error nor in what is said."""
    predict(stack, "loan_1")
    # A bell, and a mark that turns the line around; click itself takes out colours.
    odd = "repaid\a\u202e"
    file = labels(f"id,day,{odd}\n1,03/04/2026,1\n")
    done = cli("import", "loans", file, "--key", "id", "--at", "day", "--field", f"x={odd}", "--day-first")
    assert not {"\a", "\u202e"} & set(done.stdout + done.stderr)
    done = cli("import", "loans", file, "--key", "id", "--at", odd, "--field", "day")
    assert done.returncode == 2
    assert not {"\a", "\u202e"} & set(done.stdout + done.stderr)


def test_rows_that_go_to_another_sink(stack: Stack, cli: Cli, labels: Labels, tmp_path: Path) -> None:
    """Matching against a sink that has not this Redis's rows would call all unmatched; it is refused."""
    predict(stack, "loan_1")
    file = labels("id,day,repaid\n1,2026-02-01,1\n")
    done = cli("import", "loans", file, *ROLES, JOINBACK_SINK_URL=f"sqlite:///{tmp_path}/other.db")
    assert done.returncode == 2
    assert f"rows go to sqlite:///{tmp_path}/joinback.db" in done.stderr
    assert not (tmp_path / "other.db").exists()
