"""The SQL of each question: one set-based statement per question, whose answer is bounded however many rows there are.

All stand on `waits`: when each prediction was made, how long its label took (NULL: it has none yet, or nobody told
it and a default stands there), how old it is, and what it counts for. A negative delay counts as age 0.
"""

from collections.abc import Sequence

from msgspec import Struct

from .dialect import DAY_US, Dialect
from .pairing import Pair

SAMPLED_ROWS = 500
"""From which the fields and outputs are guessed."""
REFERENCE_BINS = 500
"""Of the delays by outcome, within which they are interpolated."""
TEN = 10
"""Buckets of a calibration table."""
AT_RISK_MIN = 30
"""Where fewer are at risk the curve ends: one label would move it by a thirtieth and more."""
KEPT = "joinback_kept"
_SKEW_US = 300_000_000
"""As the fold has it: a clock that was further ahead than this is not believed."""


class Asked(Struct, frozen=True, kw_only=True):
    """What every question of one report is about."""

    application: str
    now_us: int
    since_us: int = 0
    field: str | None = None
    """Whose delays; None: those of the row's first label."""
    age_us: int = DAY_US
    """The one age."""
    is_kept: bool = False
    """Whether the table KEPT was made, of this field."""

    @property
    def ripe_before_us(self) -> int:
        """The end of the last day all of whose predictions have reached the age."""
        return (self.now_us - self.age_us) // DAY_US * DAY_US


def state(d: Dialect, application: str) -> str:
    """Rows by status, and when the first and the last prediction were made."""
    return (
        f"select status, count(*), {d.us('min(predicted_at)')}, {d.us('max(predicted_at)')}"
        f" from {d.source} where application = {d.text(application)} group by status"
    )


def applications(d: Dialect) -> str:
    return f"select distinct application from {d.every} order by application limit 1000"


def samples(d: Dialect, application: str) -> str:
    """Outputs and feedback of the newest rows that have both."""
    return (
        f"select outputs, feedback from {d.source} where application = {d.text(application)}"
        " and predicted_at is not null and feedback is not null"
        f" order by predicted_at desc limit {SAMPLED_ROWS}"
    )


def orphans(d: Dialect, application: str, rows_max: int) -> str:
    """The newest rows that have feedback and no prediction: their keys, and their history.

    Of a lake from its view: what is folded once per report has no history.
    """
    return (
        f"select join_key, feedback_events from records where application = {d.text(application)}"
        f" and status = 'orphan' order by feedback_at desc limit {rows_max}"
    )


def curve(d: Dialect, asked: Asked, ages_us: Sequence[int], shares: Sequence[float]) -> str:
    """Kaplan-Meier's steps, summed between the ages: the age's place, rows and labels that ended there, the sums of
    ln(1 - d/n) and of Greenwood's d/(n(n-d)); and by share the first age at which so many labels have come.
    """
    firsts = [
        f", min(case when at_risk >= {AT_RISK_MIN} and so_far <= ln(1 - {share!r}) + 1e-12 then t end)"
        for share in shares
    ]
    return (
        f"with {_waits(d, asked)},"
        " ends as (select coalesce(delay, age) as t, case when delay is null then 0 else 1 end as is_label from waits),"
        # Counts as doubles: PostgreSQL would add up its own in decimal digits.
        f" steps as (select t, {d.double('sum(is_label)')} as d, {d.double('count(*)')} as c from ends group by t),"
        " risk as (select t, d, c, sum(c) over (order by t desc) as at_risk from steps),"
        " logs as (select t, d, c, at_risk,"
        f" case when d = 0 then 0.0 when d = at_risk then -1e9 else ln(1 - d / at_risk) end as l,"
        f" case when d = 0 or d = at_risk then 0.0 else d / at_risk / (at_risk - d) end as g from risk),"
        " km as (select t, d, c, at_risk, l, g, sum(l) over (order by t) as so_far from logs)"
        f" select {_place('t', ages_us)} as place, sum(c), sum(d), sum(l), sum(g){''.join(firsts)}"
        " from km group by 1 order by 1"
    )


def accuracy(d: Dialect, asked: Asked, pair: Pair) -> str:
    """Sufficient statistics by prediction day, version and outcome (NULL: none known): see `accuracy.Sums`."""
    sums = [
        "count(*)", "sum(w)", f"sum({d.double('age')}) / {DAY_US}e0",
        *_sums("k"), *_sums("a"),
        "sum(case when a = 1 then w * w end)", "sum(case when a = 1 then w * val * val end)",
    ]  # fmt: skip
    for place, _ in enumerate(pair.quantiles):
        sums += [f"sum(case when a = 1 and q{place} = 1 then w end)"]
    outcome = "case when k = 1 then outcome end" if pair.outcomes else "null"
    day = d.quotient("served", DAY_US)
    return (
        f"with {_judged(d, asked, pair)} select {day} as prediction_day, v, {outcome} as told, {', '.join(sums)}"
        " from judged group by 1, 2, 3"
    )


def delays_by_outcome(d: Dialect, asked: Asked, pair: Pair, reference_us: int) -> str:
    """Labels of cohorts at least as old as the reference, by outcome and by how far within it they came."""
    width = max(1, reference_us // REFERENCE_BINS)
    old = (asked.now_us - reference_us) // DAY_US * DAY_US
    return (
        f"with {_judged(d, asked, pair)} select outcome, {d.quotient('delay', width)} as bin, sum(w), count(*)"
        f" from judged where served < {old} and k = 1 and delay <= {reference_us} group by 1, 2 order by 1, 2"
    )


def triangle(d: Dialect, asked: Asked, pair: Pair | None, ages_us: Sequence[int]) -> str:
    """By week (whole ones since 1970, from Monday on): rows, and by age the labels and what they say."""
    table, ctes = ("waits", _waits(d, asked)) if pair is None else ("judged", _judged(d, asked, pair))
    known = "delay <= {}" if pair is None else "k = 1 and delay <= {}"
    cells = []
    for age in ages_us:
        came = known.format(age)
        cells += [f"sum(case when delay <= {age} then w end)", f"sum(case when {came} then w end)"]
        cells += ["null" if pair is None else f"sum(case when {came} then w * val end)"]
    week = d.quotient(f"served + {3 * DAY_US}", 7 * DAY_US)
    return f"with {ctes} select {week} as week, count(*), sum(w), {', '.join(cells)} from {table} group by 1 order by 1"


def calibration(d: Dialect, asked: Asked, pair: Pair) -> str:
    """Ripe labels of probabilities by version and tenth: rows, weight, mean of the score, and of the outcome."""
    tenth = f"case when p >= 1 then {TEN - 1} else {d.floor(f'p * {TEN}')} end"
    return (
        f"with {_judged(d, asked, pair)} select v, {tenth} as tenth, count(*), sum(w), sum(w * p), sum(w * y)"
        f" from judged where {_ripe(asked)} and p >= 0 and p <= 1 group by 1, 2 order by 1, 2"
    )


def ranks(d: Dialect, asked: Asked, pair: Pair) -> str:
    """By version of ripe labels: pairs in the right order (a tie is half of one), and weights of both outcomes."""
    return (
        f"with {_judged(d, asked, pair)},"
        " scores as (select v, p, sum(w * y) as pos, sum(w * (1 - y)) as neg from judged"
        f" where {_ripe(asked)} group by v, p),"
        " below as (select v, pos, neg, sum(neg) over (partition by v order by p) - neg as under from scores)"
        " select v, sum(pos * (under + neg / 2)), sum(pos), sum(neg) from below group by v order by v"
    )


def _ripe(asked: Asked) -> str:
    return f"a = 1 and served < {asked.ripe_before_us}"


def keep(d: Dialect, asked: Asked, pair: Pair) -> str:
    """Make the table KEPT of what all questions about a pair read."""
    return f"create temp table {KEPT} as with {_told(d, asked, pair)} select * from told"


def _told(d: Dialect, asked: Asked, pair: Pair | None) -> str:
    """The common table of what is read: served, came, w (what a sampled row counts for), v (its version), and of a
    pair its outcome, p (the output) and quantiles.
    """
    since = f" and predicted_at >= {d.time(asked.since_us)}" if asked.since_us else ""
    served = (
        f"case when clock_skew and {d.us('predicted_at')} - {d.us('logged_at')} > {_SKEW_US}"
        f" then {d.us('logged_at')} else {d.us('predicted_at')} end"
    )
    came = f"{served} + {d.us_of_seconds('feedback_delay_s')}"
    if asked.field is not None:
        # A row of an older release has no times by field until it is folded again.
        came = f"case when field_times is null then {came} else {d.us_of_text(d.first_told(asked.field))} end"
    return (
        f"told as (select {served} as served, {came} as came, 1e0 / coalesce(sample_rate, 1e0) as w, version as v"
        f"{'' if pair is None else _sides(d, pair)} from {d.source}"
        f" where application = {d.text(asked.application)} and predicted_at is not null{since}{d.fence})"
    )


def _sides(d: Dialect, pair: Pair) -> str:
    read = d.string if pair.is_text else d.number
    ours = d.string if pair.is_text and pair.kind == "classes" else d.number
    columns = f", {read('feedback', pair.field)} as outcome, {ours('outputs', pair.output)} as p"
    for place, name in enumerate(pair.quantiles):
        columns += f", {d.number('outputs', name)} as quantile{place}"
    return columns


def _waits(d: Dialect, asked: Asked, pair: Pair | None = None) -> str:
    """What was read, with its age and its delay."""
    table = KEPT if asked.is_kept else "told"
    return (
        f"{'' if asked.is_kept else _told(d, asked, pair) + ', '}"
        f"waits as (select *, {asked.now_us} - served as age, case when came <= {asked.now_us}"
        f" then case when came > served then came - served else 0 end end as delay"
        f" from {table} where served >= {asked.since_us} and served <= {asked.now_us})"
    )


def _judged(d: Dialect, asked: Asked, pair: Pair) -> str:
    """`waits` with what became of the pair: k and a (1: known now, and by the age), val (right, or the absolute
    error), extra (Brier's term, or the error), and of a score y.
    """
    if pair.kind == "score":
        positive = d.text(pair.positive) if pair.is_text else repr(float(pair.positive))
        y = f"case when outcome = {positive} then 1 else 0 end"
        at = repr(pair.threshold)
        value = f"case when (p >= {at} and y = 1) or (p < {at} and y = 0) then 1 else 0 end"
        extra = "(p - y) * (p - y)"
    elif pair.kind == "classes":
        y, value, extra = "0", "case when p = outcome then 1 else 0 end", "0.0"
    else:
        y, value, extra = "0", "abs(p - outcome)", "p - outcome"
    flags = "".join(
        f", case when outcome <= quantile{place} then 1 else 0 end as q{place}" for place in range(len(pair.quantiles))
    )
    return (
        f"{_waits(d, asked, pair)},"
        f" known as (select *, {y} as y, case when delay is not null and outcome is not null and p is not null"
        " then 1 else 0 end as k from waits),"
        f" judged as (select served, age, delay, w, v, outcome, p, y, k,"
        f" case when k = 1 and delay <= {asked.age_us} then 1 else 0 end as a,"
        f" case when k = 1 then {value} end as val, case when k = 1 then {extra} end as extra{flags}"
        f" from known{d.fence})"
    )


def _sums(flag: str) -> list[str]:
    then = f"sum(case when {flag} = 1 then"
    return [f"sum({flag})", f"{then} w end)", f"{then} w * val end)", f"{then} w * extra end)"]


def _place(column: str, bounds: Sequence[int]) -> str:
    """How many of the ascending bounds lie below the value, by halving: one comparison per doubling."""

    def between(low: int, high: int) -> str:
        if low == high:
            return str(low)
        middle = (low + high) // 2
        return (
            f"case when {column} <= {bounds[middle]} then {between(low, middle)} else {between(middle + 1, high)} end"
        )

    return between(0, len(bounds))
