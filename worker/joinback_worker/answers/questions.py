"""The SQL of each question: one set-based statement, whose result is bounded however many rows there are.

All build on the common table `waits`. For each prediction it has the time, the delay of its label, the age and the
weight. The delay is NULL if there is no label yet, or only a default. A negative delay counts as 0.
"""

from collections.abc import Sequence

from msgspec import Struct

from .dialect import DAY_US, Dialect
from .pairing import Pair

SAMPLED_ROWS = 500
"""The newest rows from which fields and outputs are guessed."""
REFERENCE_BINS = 500
"""Equal parts of the reference age, between which the delays by outcome are interpolated."""
TEN = 10
"""Buckets of a calibration table."""
AT_RISK_MIN = 30
"""The curve ends where fewer predictions are at risk: there, one label would move it by a thirtieth or more."""
KEPT = "joinback_kept"
_SKEW_US = 300_000_000
"""As the law has it (CLOCK_SKEW_MAX): an event dated further ahead of its client's clock counts by that clock."""


class Asked(Struct, frozen=True, kw_only=True):
    """The subject of all questions of one report."""

    application: str
    now_us: int
    since_us: int = 0
    field: str | None = None
    """The field whose delays count; None: the first label of the row."""
    age_us: int = DAY_US
    """The one age at which days are compared."""
    is_kept: bool = False
    """Whether the table KEPT exists, for this field."""

    @property
    def ripe_before_us(self) -> int:
        """The end of the last ripe day: all its predictions have reached the age."""
        return (self.now_us - self.age_us) // DAY_US * DAY_US


def state(d: Dialect, application: str) -> str:
    """Return the question for rows by status, with the times of the first and the last prediction."""
    return (
        f"select status, count(*), {d.us('min(predicted_at)')}, {d.us('max(predicted_at)')}"
        f" from {d.source} where application = {d.text(application)} group by status"
    )


def applications(d: Dialect) -> str:
    return f"select distinct application from {d.every} order by application limit 1000"


def samples(d: Dialect, application: str) -> str:
    """Return the question for outputs and feedback of the newest rows that have both."""
    return (
        f"select outputs, feedback from {d.source} where application = {d.text(application)}"
        " and predicted_at is not null and feedback is not null"
        f" order by predicted_at desc limit {SAMPLED_ROWS}"
    )


def orphans(d: Dialect, application: str, rows_max: int) -> str:
    """Return the question for the newest rows that have feedback and no prediction: their keys, and their history.

    In a lake it asks the view: the table that is folded once per report has no history.
    """
    return (
        f"select join_key, feedback_events from records where application = {d.text(application)}"
        f" and status = 'orphan' order by feedback_at desc limit {rows_max}"
    )


def curve(d: Dialect, asked: Asked, ages_us: Sequence[int], shares: Sequence[float]) -> str:
    """Return the question for Kaplan and Meier's steps, summed between the ages.

    Its columns: the place of the age; the rows and the labels that ended there; the sums of ln(1 - 1/r) and of
    Greenwood's 1/(r(r-1)) over those of these labels for which AT_RISK_MIN are at risk; the last age at which as many
    are, and how many are at risk then; for each share, the first age at which it has come.

    r is the rank of a row, counted from the last end. Labels that came at the same time are taken one after the other,
    before rows that are censored at that time. If d of n at risk end together, the steps are (n-1)/n, (n-2)/(n-1), ...
    Their product is Kaplan and Meier's 1 - d/n, and the sum of 1/(r(r-1)) is Greenwood's d/(n(n-d)). So it is enough
    to sort by one number, with or without ties. n is the rank of the first of them: all d count, or none.
    """

    def enough(aggregate: str, *columns: str) -> list[str]:
        return [f"{aggregate}(case when n >= {AT_RISK_MIN} then {column} end)" for column in columns]

    firsts = [f", min(case when so_far <= ln(1 - {share!r}) + 1e-12 then t end)" for share in shares]
    return (
        f"with {_waits(d, asked)},"
        " ends as (select 2 * coalesce(delay, age) + case when delay is null then 1 else 0 end as e from waits),"
        f" ranked as (select e, {d.rows_of('ends')} + 1 - row_number() over (order by e) as r,"
        f" {d.rows_of('ends')} + 1 - rank() over (order by e) as n from ends),"
        f" logs as (select e, r, n, {d.quotient('e', 2)} as t,"
        # As a double, 1 - 1/r is exact enough for a sum over a million rows.
        f" case when e % 2 = 1 then 0e0 when r = 1 then -1e9 else ln((r - 1) / {d.double('r')}) end as l,"
        f" case when e % 2 = 1 or r = 1 then 0e0 else 1e0 / (({d.double('r')}) * (r - 1)) end as g from ranked),"
        f" km as (select e, n, t, l, g, sum(l) over ({d.in_order('e')} rows unbounded preceding) as so_far from logs)"
        f" select {_place('t', ages_us)} as place, count(*), sum(1 - e % 2), {', '.join(enough('sum', *'lg'))},"
        f" {', '.join((*enough('max', 't'), *enough('min', 'n')))}{''.join(firsts)} from km group by 1 order by 1"
    )


def cells(d: Dialect, asked: Asked, pair: Pair | None, ages_us: Sequence[int]) -> str:
    """Return the question for the sums from which accuracy, triangle and versions are computed: see `accuracy.Cell`.

    They are grouped by prediction day, version, outcome (NULL: not known, or too many different ones), k (see
    `_judged`), and the place among the ages at which the label came (NULL: it has not).
    """
    keys = [
        d.quotient("served", DAY_US),
        "v",
        "null",
        "0",
        f"case when delay is not null then {_place('delay', ages_us)} end",
    ]
    sums = ["count(*)", "sum(w)", "sum(w * w)", f"sum({d.double('age')}) / {DAY_US}e0"]
    table = "waits"
    if pair is not None:
        table = _judged(d, asked, pair)
        keys[2:4] = ["case when k = 1 then outcome end" if pair.outcomes else "null", "k"]
        # Of shares the square is the value, and an engine computes an equal sum once.
        squared = d.square("val") if pair.kind == "numbers" else "val"
        sums += ["sum(w * val)", "sum(w * extra)", f"sum(w * {squared})"]
        sums += [f"sum(case when q{place} = 1 then w end)" for place in range(len(pair.quantiles))]
    return f"with {_waits(d, asked, pair)} select {', '.join([*keys, *sums])} from {table} group by 1, 2, 3, 4, 5"


def delays_by_outcome(d: Dialect, asked: Asked, pair: Pair, reference_us: int) -> str:
    """Return the question for labels of cohorts at least as old as the reference age, by outcome and by delay."""
    width = max(1, reference_us // REFERENCE_BINS)
    old = (asked.now_us - reference_us) // DAY_US * DAY_US
    return (
        f"with {_waits(d, asked, pair)} select outcome, {d.quotient('delay', width)} as bin, sum(w), count(*)"
        f" from {_judged(d, asked, pair)} where case when k = 1 then served < {old} and delay <= {reference_us} end"
        " group by 1, 2 order by 1, 2"
    )


def scores(d: Dialect, asked: Asked, pair: Pair) -> str:
    """Return the question for ripe labels of scores, by version and tenth (NULL if the score is not a probability).

    Its sums: rows, weight, score, weight of positive labels, weight of the others, the squared weights of both, and
    pairs of a positive and another label that the score orders rightly (a tie counts for half).
    """
    tenth = f"case when p >= 0 and p < 1 then {d.floor(f'p * {TEN}')} when p = 1 then {TEN - 1} end"
    ripe = f"delay <= {asked.age_us} and served < {asked.ripe_before_us}"
    counted = (
        "select v, p, count(*) as n, sum(w * y) as pos, sum(w * (1 - y)) as neg,"
        " sum(w * w * y) as pos2, sum(w * w * (1 - y)) as neg2"
        f" from {_judged(d, asked, pair)} where case when k = 1 then {ripe} end group by v, p"
    )
    return (
        f"with {_waits(d, asked, pair)}"
        f" select v, {tenth} as tenth, sum(n), sum(pos + neg), sum(p * (pos + neg)), sum(pos), sum(neg),"
        " sum(pos2), sum(neg2),"
        " sum(pos * (under + neg / 2)) from (select v, p, n, pos, neg, pos2, neg2,"
        f" sum(neg) over (partition by v order by p) - neg as under from ({counted}) as scores) as below"
        " group by 1, 2 order by 1, 2"
    )


def keep(d: Dialect, asked: Asked, pair: Pair) -> str:
    """Return the statement that makes the table KEPT, which all questions about a pair read."""
    return f"create temp table {KEPT} as with {_source(d, asked, pair)} select * from source"


def _source(d: Dialect, asked: Asked, pair: Pair | None) -> str:
    """Return the common tables of what is read: served, came, w (the weight of a sampled row), v (the version), and,
    for a pair, outcome (the label), p (the output) and quantiles. Each cell is parsed once.
    """
    ahead = f"{d.us('predicted_at')} - {d.us('logged_at')} > {_SKEW_US}"
    served_at = f"case when clock_skew and {ahead} then logged_at else predicted_at end"
    since = f" and predicted_at >= {d.time(asked.since_us)} and {served_at} >= {d.time(asked.since_us)}"
    found, sides = "", ""
    if pair is not None:
        texts, numbers = (d.found_text, d.string), (d.found, d.number)
        find, outcome = texts if pair.is_text else numbers
        find_ours, p = texts if pair.is_text and pair.kind == "classes" else numbers
        found = f", {find('feedback', (pair.field,))} as label, {find_ours('outputs', pair.path)} as ours"
        sides = f", {outcome('label')} as outcome, {p('ours')} as p"
        for place, name in enumerate(pair.quantiles):
            found += f", {d.found('outputs', pair.beside(name))} as found{place}"
            sides += f", {d.number(f'found{place}')} as quantile{place}"
    came = f"served + {d.us_of_seconds('feedback_delay_s')}"
    if asked.field is not None:
        found += f", first_feedback_at, {d.times} as times"
        # A row of an older release has no times by field until its next event.
        came = f"case when times is null then {came} else {d.first_seen(asked.field)} end"
    read = (
        f"select {served_at} as served_at, feedback_delay_s, 1e0 / coalesce(sample_rate, 1e0) as w, version as v{found}"
        f" from {d.source} where application = {d.text(asked.application)} and predicted_at is not null"
        f" and {served_at} <= {d.time(asked.now_us)}{since if asked.since_us else ''}"
    )
    timed = f"select *, {d.us('served_at')} as served from read"
    return (
        f"read as ({d.fenced(read)}), timed as ({d.fenced(timed)}),"
        f" source as (select served, {came} as came, w, v{sides} from timed)"
    )


def _waits(d: Dialect, asked: Asked, pair: Pair | None = None) -> str:
    """Return the common table `waits`: what was read, with age and delay."""
    table = KEPT if asked.is_kept else "source"
    waits = (
        f"select *, {asked.now_us} - served as age, case when came <= {asked.now_us}"
        f" then case when came > served then came - served else 0 end end as delay from {table}"
    )
    return f"{'' if asked.is_kept else _source(d, asked, pair) + ', '}waits as ({d.fenced(waits)})"


def _judged(d: Dialect, asked: Asked, pair: Pair) -> str:
    """Return the subquery `judged`: the common table `waits` with the comparison of the pair.

    It is no common table, because PostgreSQL would compute one with an anchored column first, and not in parallel.

    k is 1 if output and label are known, and -1 if there is no output that can be compared. If it is 1, val is 1 if the
    output is right, or the absolute error, and extra is Brier's term, or the error. For a score, y is 1 if the label is
    the positive one.
    """
    k = d.anchored("case when p is null then -1 when delay is not null and outcome is not null then 1 else 0 end")
    if pair.kind == "score":
        positive = d.text(pair.positive) if pair.is_text else repr(float(pair.positive))
        y = f"case when outcome = {positive} then 1 else 0 end"
        at = repr(pair.threshold)
        value = f"case when (p >= {at} and y = 1) or (p < {at} and y = 0) then 1 else 0 end"
        extra = d.square("p - y")
    elif pair.kind == "classes":
        y, value, extra = "0", "case when p = outcome then 1 else 0 end", "0e0"
    else:
        y, value, extra = "0", "abs(p - outcome)", "p - outcome"
    flags = "".join(
        f", case when k = 1 and outcome <= quantile{place} then 1 else 0 end as q{place}"
        for place in range(len(pair.quantiles))
    )
    judged = (
        f"select served, age, delay, w, v, outcome, p, y, k, case when k = 1 then {value} end as val,"
        f" case when k = 1 then {extra} end as extra{flags}"
        f" from (select *, {y} as y, {k} as k from waits) as known"
    )
    return f"({d.fenced(judged)}) as judged"


def _place(column: str, bounds: Sequence[int]) -> str:
    """Return how many of the ascending bounds are below the value, by a binary search."""

    def between(low: int, high: int) -> str:
        if low == high:
            return str(low)
        middle = (low + high) // 2
        return (
            f"case when {column} <= {bounds[middle]} then {between(low, middle)} else {between(middle + 1, high)} end"
        )

    return between(0, len(bounds))
