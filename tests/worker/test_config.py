"""joinback.toml: what is right holds, and each mistake is told with its line and the fix."""

from pathlib import Path

import pytest
from ruled import file, reducing, toml

import joinback
from joinback.config_file import APPLICATION_KEYS
from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of, look
from joinback_worker.law.rules import FieldRules, Rules

MISTAKES = [
    ("[loans]\n", 1, "loans is not known; rules stand under [applications.<name>]"),
    ("applications = 3\n", 1, "applications must be a table"),
    ("[applications]\nloans = 3\n", 2, "applications.loans must be a table; write [applications.loans]"),
    (
        "[applications.loans]\nmaturty_s = 60\n",
        2,
        "loans.maturty_s is not known; did you mean maturity_s?",
    ),
    (
        "[applications.loans]\n\nmaturity_s = 'soon'\n",
        3,
        "applications.loans.maturity_s must be an integer from 1 to 3153600000",
    ),
    ("[applications.loans]\nmaturity_s = 0\n", 2, "must be an integer from 1 to 3153600000"),
    ("[applications.loans]\njoin_window_s = 9_999_999_999\n", 2, "must be an integer from 1 to 3153600000"),
    ("[applications.loans]\nsample_rate = 2.0\n", 2, "must be a number over 0 and at most 1"),
    ("[applications.loans]\nfeedback = 1\n", 2, "must be a table; write [applications.loans.feedback.<field>]"),
    ("[applications.a.feedback.x]\ntype = 'integer'\n", 2, "must be bool, int, float, str, or a list of categories"),
    ("[applications.a.feedback.x]\ntype = []\n", 2, "must be bool, int, float, str, or a list of categories"),
    ("[applications.a.feedback.x]\nreducer = 'average'\n", 2, "must be one of last, first, sum, mean, min, max, count"),
    ("[applications.a.feedback.x]\ntype = 'str'\nmin = 3\n", 3, 'is for numbers; give the field type = "int"'),
    ("[applications.a.feedback.x]\ntype = 'int'\nmax = 1\nmin = 3\n", 4, "is above max"),
    ("[applications.a.feedback.x]\nstrict = true\n", 2, "needs a type"),
    ("[applications.a.feedback.x]\nsources = ['a', 'a']\n", 2, "names 'a' twice"),
    ("[applications.a.feedback.x]\ndefault = 1\n", 2, "needs maturity_s, of the field or of the application"),
    ("[applications.a.feedback.x]\nmaturity_s = 1\ntype = 'bool'\ndefault = 'no'\n", 4, "is text, not bool"),
    ("[applications.a.feedback.x]\nmaturity_s = 1\ndefault = 2026-01-01\n", 3, "must be a JSON value"),
    ("[applications.a.feedback.x]\nmaturity_s = 1\ndefault = nan\n", 3, "must be a JSON value"),
    ("[applications.a.feedback.x]\ntype = ['b', 'c']\npositive = 'd'\n", 3, "is none of b, c"),
    ("[applications.a.feedback.x]\ntype = 'int'\npositive = 'more'\n", 3, 'must be "higher" or "lower"'),
    ("[applications.a]\nlabels = ['bougth']\n[applications.a.feedback.bought]\n", 2, "did you mean 'bought'?"),
    ("[applications.a]\nlabels = [\n  'x',\n]\n", 4, "declare it: [applications.a.feedback.x]"),
    ("[applications.a]\nlabels = 'b'\n", 2, 'must be a list of names: ["bought"]'),
    ("[applications.a]\nlabels = ['b', 'b']\n[applications.a.feedback.b]\n", 2, "names 'b' twice"),
    ("[applications.a]\nlabels = []\n", 2, "names none; leave it out"),
    ("[applications.a.feedback.x]\ntype = ['b', 'c', 'b']\n", 2, "names the category 'b' twice"),
    ("[applications.a.feedback.x]\ntype = 'str'\nreducer = 'sum'\n", 3, "sum is for numbers, and its values are texts"),
    ("[applications.a.feedback.x]\ntype = ['b']\nreducer = 'max'\n", 3, "max is for numbers, and its values are texts"),
    (
        "[applications.a.feedback.x]\nmaturity_s = 1\nreducer = 'sum'\ndefault = 'no'\n",
        4,
        "must be a number, such as 0",
    ),
    ("[applications.a.feedback.x]\nmaturity_s = 1\nreducer = 'count'\ndefault = false\n", 4, "as the count is one"),
    ("[applications.a.feedback.x]\nmaturity_s = 1\nreducer = 'sum'\ndefault = inf\n", 4, "must be finite"),
    (
        "[applications.a]\njoin_window_s = 60\n[applications.a.feedback.x]\nmaturity_s = 61\n",
        4,
        "join_window_s, here 60",
    ),
    ("[applications.a]\njoin_window_s = 60\nmaturity_s = 61\n", 3, "is above join_window_s, here 60"),
    ("[applications.a.feedback.x]\ntype = 'int'\nmin = nan\n", 3, "must be finite"),
    ("[applications.a.feedback.x]\ntype = 'int'\nmax = inf\n", 3, "must be finite"),
    ("[applications.a.feedback.x]\nthreshold = nan\n", 2, "must be finite"),
    ("[applications.a.feedback.x]\npositive = true\n", 2, "needs a type"),
    ('[applications.""]\nmaturity_s = 1\n', 1, "must be an application's name"),
    ('[applications."*"]\nmaturity_s = 1\n', 1, "does not stand for all others"),
    ('[applications."a b"]\nx = 1\n', 2, "applications.'a b'.x is not known"),
]


@pytest.mark.parametrize(("text", "line", "says"), MISTAKES)
def test_a_mistake_is_told_with_its_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    """One line per mistake: the file, the line, the keys, and what may stand there."""
    path = tmp_path / "joinback.toml"
    path.write_text(text)
    _, problems = look(Settings(config=str(path)))
    place = f"{path}, line {line}: "
    assert any(says in problem and problem.startswith(place) for problem in problems), problems
    with pytest.raises(ConfigurationError, match=r"joinback\.toml, line"):
        config_of(Settings(config=str(path)))


def test_all_mistakes_are_told(tmp_path: Path) -> None:
    """The first one, and how many more; what is right beside them holds."""
    path = tmp_path / "joinback.toml"
    path.write_text("[applications.a]\nx = 1\ny = 2\nmaturity_s = 60\n")
    config, problems = look(Settings(config=str(path)))
    assert len(problems) == 2
    assert config.rules_of("a").maturity_s == 60
    with pytest.raises(ConfigurationError, match="and 1 more, see: joinback config check"):
        config_of(Settings(config=str(path)))


@pytest.mark.parametrize(
    "text",
    [
        "[applications.a.feedback.x]\ndefault = true\nmaturity_s = 0\n",
        "[applications.a.feedback.x]\ndefault = true\nmaturty_s = 60\n",
        "[applications.a]\nmaturity_s = 'soon'\n[applications.a.feedback.x]\ndefault = true\n",
        "[applications.a]\njoin_window_s = 'long'\n[applications.a.feedback.x]\nmaturity_s = 16_000_000\n",
        "[applications.a.feedback.x]\ntype = 'integer'\nmin = 3\nstrict = true\npositive = 'higher'\n",
    ],
)
def test_what_follows_from_a_mistake_is_not_told(text: str, tmp_path: Path) -> None:
    """One mistake is one line: what only follows from it goes away with it."""
    path = tmp_path / "joinback.toml"
    path.write_text(text)
    assert len(look(Settings(config=str(path)))[1]) == 1


def test_defaults_of_what_is_counted(tmp_path: Path) -> None:
    """A count is a number whatever is counted, and so is its default."""
    fields = {
        "x": {"type": "str", "reducer": "count", "default": 0},
        "y": {"type": "bool", "reducer": "sum", "default": 0},
    }
    assert look(Settings(config=file(tmp_path, a={"maturity_s": 60, "feedback": fields})))[1] == ()


def test_a_file_of_notepad(tmp_path: Path) -> None:
    """A file that begins with a byte order mark, and whose lines end as in Windows, is read like any other."""
    path = tmp_path / "joinback.toml"
    path.write_bytes(b"\xef\xbb\xbf[applications.a]\r\nmaturity_s = 60\r\nx = 1\r\n")
    config, problems = look(Settings(config=str(path)))
    assert config.rules_of("a").maturity_s == 60
    assert [problem.partition(" is not known")[0] for problem in problems] == [f"{path}, line 3: applications.a.x"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        (b"[applications", "is not valid TOML"),
        (b"\xff", "no text in UTF-8"),
        (b"a = 1\nb =\n", "line 2"),
    ],
)
def test_a_file_that_is_none(content: bytes | None, says: str, tmp_path: Path) -> None:
    """A file that is not there, or is no TOML, is told in one line."""
    path = tmp_path / "joinback.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=says) as told:
        config_of(Settings(config=str(path)))
    assert "\n" not in str(told.value)


def test_what_is_not_declared(tmp_path: Path) -> None:
    """The window of the environment is for whoever declares none; an application that is not named has no rules."""
    path = file(tmp_path, ads={"join_window_s": 60}, loans=reducing(clicks="sum"))
    config = config_of(Settings(config=path, join_window_s=90))
    assert config.rules_of("ads").join_window_s == 60
    assert config.rules_of("loans") == Rules(join_window_s=90, feedback={"clicks": FieldRules(reducer="sum")})
    assert config.rules_of("other") == Rules(join_window_s=90)


def test_the_digest() -> None:
    """It differs where rows would be folded otherwise, and only there."""

    def digest(**keys: object) -> str:
        import msgspec

        return msgspec.convert(keys, Rules).digest

    base = digest(feedback={"x": {"type": "int"}})
    more = {"min": 3, "strict": True, "positive": "higher"}
    assert base == digest(feedback={"x": {"type": "int"} | more}, sample_rate=0.5)
    others = [
        {"feedback": {"x": {"type": "str"}}},
        {"feedback": {"x": {"type": "int", "reducer": "sum"}}},
        {"feedback": {"x": {"type": "int", "sources": ["a"]}}},
        {"feedback": {"x": {"type": "int"}}, "labels": ["x"]},
        {"feedback": {"x": {"type": "int"}}, "join_window_s": 5},
        {"feedback": {"x": {"type": "int"}}, "maturity_s": 5},
    ]
    assert len({base, *(digest(**other) for other in others)}) == len(others) + 1


def test_a_client_takes_its_rates_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's sample rates hold for a client, unless `init` is told others."""
    monkeypatch.setenv("JOINBACK_CONFIG", file(tmp_path, ads={"sample_rate": 1e-9}, loans={"labels": ["nobody"]}))
    client = joinback.Client().init("redis://127.0.0.1:1/0")
    client.log_record("ads", inputs=1, outputs=2)
    assert client.stats()["dropped"]["sampled_out"] == 1
    client.init("redis://127.0.0.1:1/0", sample_rates={})
    client.log_record("ads", inputs=1, outputs=2)
    assert client.stats()["buffered"] == 1
    client.close(0)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (
            "[applications.ads]\nsample_rat = 0.1\n",
            "ads.sample_rat is not known, and has no effect",
        ),
        ("[application.ads]\nsample_rate = 0.1\n", "did you mean applications?"),
    ],
)
def test_a_client_tells_a_typo_of_the_file(
    table: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A key that nobody reads is told in the client's log, once: else all would be logged without a word."""
    path = tmp_path / "joinback.toml"
    path.write_text(table)
    monkeypatch.setenv("JOINBACK_CONFIG", str(path))
    joinback.Client().init("redis://127.0.0.1:1/0").close(0)
    assert caplog.text.count(says) == 1
    assert set(APPLICATION_KEYS) == set(Rules.__struct_fields__)


@pytest.mark.parametrize("text", ["[applications", toml({"ads": {"sample_rate": 7}}), "applications = 1"])
def test_a_client_logs_on_with_a_wrong_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is wrong with the file is told in the client's log, and every prediction is logged."""
    path = tmp_path / "joinback.toml"
    path.write_text(text)
    monkeypatch.setenv("JOINBACK_CONFIG", str(path))
    client = joinback.Client().init("redis://127.0.0.1:1/0")
    client.log_record("ads", inputs=1, outputs=2)
    assert client.stats()["buffered"] == 1
    assert ("every prediction" in caplog.text) == (text != "applications = 1")
    client.close(0)
