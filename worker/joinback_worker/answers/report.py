"""All answers about one application: the questions of one report, in turn, and what follows from each."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from joinback.settings import Settings
from joinback_worker.config.rules_file import config_of
from joinback_worker.law.rules import Rules

from . import accuracy, compare, estimate, pairing, questions, remarks, versions
from .answer import NoApplication, Report, Wanted
from .curve import SHARES, Curve, ages_us, curve_of, duration, sensible_age_s
from .dialect import DAY_US, Dialect, us_of
from .keeping import lines_to_keep, why_not_kept
from .pairing import Pair
from .questions import Asked
from .samples import fields_of, outputs_of, samples_of
from .scores import Scores, scores_of
from .slower import slower_of
from .stores import Store, open_store
from .triangle import ages_around, triangle_of

FIELDS_MAX = 8
"""Curves per report. Each is a question of its own."""


async def report(settings: Settings, wanted: Wanted, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Return the report, by asking the sink. Raises NoApplication, ConfigurationError, SinkUnavailable."""
    rules = config_of(settings).rules_of(wanted.application)
    async with open_store(settings, wanted.application) as store:
        progress("rows by status")
        state = await store.ask(questions.state(store.dialect, wanted.application))
        if not state:
            known = [str(name) for (name,) in await store.ask(questions.applications(store.dialect))]
            raise NoApplication(wanted.application, known)
        return await _Reporting(settings, store, wanted, rules, state, progress).all()


class _Reporting:
    """One report under way."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        wanted: Wanted,
        rules: Rules,
        state: Sequence[Sequence[Any]],
        progress: Callable[[str], None],
    ) -> None:
        self._store, self._wanted, self._rules, self._progress = store, wanted, rules, progress
        self._statuses = {str(status): int(count) for status, count, *_ in state}
        now_us = us_of(wanted.now)
        since_us = us_of(wanted.since) if wanted.since else 0
        served = [max(int(first), since_us) for _, _, first, _ in state if first is not None]
        self._oldest_us = max(1, now_us - min(served, default=now_us))
        self._asked = Asked(application=wanted.application, now_us=now_us, since_us=since_us)
        self._keeps_unlabelled = settings.emit != "joined"
        self._has_unlabelled = False
        """Whether there are rows without a label of what is compared, or, if nothing is, without any label."""
        self._notes: list[str] = []

    async def all(self) -> Report:
        samples = samples_of(await self._ask("fields", questions.samples(self._dialect, self._asked.application)))
        fields = fields_of(samples, self._rules)
        found = pairing.pair_of(samples, self._rules, self._wanted.choice)
        pair = None if isinstance(found, str) else found
        if isinstance(found, str):
            self._notes.append(f"No accuracy: {found}.")
        else:
            said = (
                remarks.unseen_positive(found),
                why_not_kept(found, self._rules),
                remarks.defaulted(found.field, self._rules),
            )
            self._notes += [sentence for sentence in said if sentence]
        if pair is not None and self._dialect.keeps:
            self._asked = structs.replace(self._asked, field=pair.field)
            await self._ask("rows", questions.keep(self._dialect, self._asked, pair))
            self._asked = structs.replace(self._asked, is_kept=True)
        # If there is one field only, its first value is the first label.
        shown = fields[:FIELDS_MAX]
        if pair is not None and pair.field not in shown:
            shown = [*shown[: FIELDS_MAX - 1], pair.field]
        drawn = [await self._curve(field) for field in (shown if len(shown) == 1 else [None, *shown])]
        field = pair.field if pair is not None else drawn[0].field
        own = next(curve for curve in drawn if curve.field == field)
        self._has_unlabelled = own.rows > own.labels
        if self._has_unlabelled and not {"predicted", "unlabelled"} & self._statuses.keys():
            self._notes.append(_ALL_HAVE_SOME)
        age_s, why = self._age(own)
        self._asked = structs.replace(self._asked, age_us=round(age_s * 1e6), field=pair.field if pair else None)
        answer = Report(
            application=self._wanted.application,
            now=self._wanted.now,
            statuses=self._statuses,
            age_s=age_s,
            age_why=why,
            curves=drawn,
            pair=pair,
            why_no_pair=found if isinstance(found, str) else None,
            to_keep=lines_to_keep(self._wanted.application, pair, self._rules) if pair else [],
            notes=self._notes,
            fields=fields,
            outputs=outputs_of(samples),
        )
        ages_s = ages_around(age_s)
        triangle_us = [round(age * 1e6) for age in ages_s]
        all_us = sorted({*triangle_us, self._asked.age_us})
        what = "labels by age" if pair is None else "accuracy"
        cells = accuracy.cells_of(await self._ask(what, questions.cells(self._dialect, self._asked, pair, all_us)))
        places = [all_us.index(age) for age in triangle_us]
        answer = structs.replace(
            answer,
            triangle=triangle_of(cells, ages_s, places, self._asked.now_us, self._has_unlabelled),
            slower=slower_of(cells, ages_s, places, self._asked.now_us) if self._has_unlabelled else None,
        )
        if pair is None:
            return answer
        self._notes += remarks.not_compared(cells)
        sums = accuracy.sums_of(cells, all_us.index(self._asked.age_us))
        if same := remarks.one_value(pair.field, accuracy.total(sums.values()).outcomes, samples):
            self._notes.append(same)
        return await self._with_pair(answer, pair, sums)

    @property
    def _dialect(self) -> Dialect:
        return self._store.dialect

    async def _ask(self, what: str, question: str) -> list[tuple[Any, ...]]:
        self._progress(what)
        return await self._store.ask(question)

    async def _curve(self, field: str | None) -> Curve:
        maturity_s = self._rules.row_maturity_s if field is None else self._rules.maturity_of(field)
        ages = ages_us(self._oldest_us, maturity_s)
        is_kept = self._asked.is_kept and field == self._asked.field
        asked = structs.replace(self._asked, field=field, is_kept=is_kept)
        what = "delays" if field is None else f"delays of {field}"
        answer = await self._ask(what, questions.curve(self._dialect, asked, ages, SHARES))
        drawn = curve_of(field, ages, answer, maturity_s)
        if drawn.rows and (not self._keeps_unlabelled or drawn.labels == drawn.rows):
            return Curve(field=field, maturity_s=maturity_s, refused=_NO_UNLABELLED, usual_s=drawn.usual_s)
        return drawn

    def _age(self, own: Curve) -> tuple[float, str]:
        """Return the one age, and why this one. `own` is the curve of what is compared."""
        if self._wanted.age_d is not None:
            return self._wanted.age_d * 86_400, "as asked"
        maturity_s = self._rules.maturity_of(own.field) if own.field else self._rules.row_maturity_s
        return sensible_age_s(own, maturity_s, self._oldest_us / 1e6)

    async def _with_pair(self, answer: Report, pair: Pair, sums: dict[tuple[int, str | None], accuracy.Sums]) -> Report:
        delays = await self._delays(pair)
        ripe = {key: one for key, one in sums.items() if accuracy.is_ripe(key[0], self._asked)}
        if not ripe:
            self._notes.append(
                f"No day is {duration(answer.age_s)} old yet, so there is no figure at that age: see --age-days."
            )
        if not self._has_unlabelled:
            self._notes.append(f"No coverage, bounds or estimate: {_NO_UNLABELLED}")
        by_version = {
            version: accuracy.total(one for (_, v), one in ripe.items() if v == version)
            for version in sorted({v for _, v in ripe}, key=versions.order)
        }
        whole = accuracy.total(ripe.values())
        return structs.replace(
            answer,
            days=accuracy.days_of(sums, self._asked, pair, delays, self._has_unlabelled),
            together=accuracy.days_of(accuracy.together(sums), self._asked, pair, delays, self._has_unlabelled),
            versions=[compare.side(version, one, pair) for version, one in by_version.items()],
            comparison=self._compared(by_version, pair),
            ripe=accuracy.as_one_day(ripe, self._asked, pair, self._has_unlabelled),
            unripe=accuracy.as_one_day(
                {key: one for key, one in sums.items() if key not in ripe}, self._asked, pair, self._has_unlabelled
            ),
            scores=await self._scores(pair) if pair.kind == "score" else [],
            quantiles={
                name: below / whole.by_age.w
                for name, below in zip(pair.quantiles, whole.below, strict=False)
                if whole.by_age.w
            },
            notes=self._notes,
        )

    async def _delays(self, pair: Pair) -> estimate.Delays | None:
        if not (pair.outcomes and self._has_unlabelled):
            return None
        reference_d = estimate.reference_age_d(self._asked.age_us / DAY_US)
        reference_us = round(reference_d * DAY_US)
        question = questions.delays_by_outcome(self._dialect, self._asked, pair, reference_us)
        answer = await self._ask("delays by outcome", question)
        return estimate.delays_of(answer, reference_d, questions.REFERENCE_BINS)

    def _compared(self, by_version: dict[str | None, accuracy.Sums], pair: Pair) -> compare.Comparison | None:
        """Return the comparison of the two versions that were named, or of the only two there are; else None."""
        if self._wanted.versions is None and len(by_version) != 2:
            return None
        names = versions.by_name(by_version)
        for name in self._wanted.versions or ():
            if name not in names:
                known = ", ".join(map(versions.shown, by_version)) or "none"
                self._notes.append(f"Version {name or repr(name)} has no ripe day; those that have one: {known}.")
                return None
        a, b = (names[name] for name in self._wanted.versions) if self._wanted.versions else by_version
        return compare.compared((a, by_version[a]), (b, by_version[b]), pair)

    async def _scores(self, pair: Pair) -> list[Scores]:
        found = scores_of(await self._ask("scores", questions.scores(self._dialect, self._asked, pair)))
        if inverted := remarks.inverted(found):
            self._notes.append(inverted)
        return found


_ALL_HAVE_SOME = (
    "Every row has a label of some field. If the worker keeps no other rows (JOINBACK_EMIT=joined), the curves,"
    " coverage and bounds are of these predictions alone."
)
_NO_UNLABELLED = (
    "All rows have a label, or rows without one are not kept (JOINBACK_EMIT=joined). So it is not known how many labels"
    " are still to come, and the delays of those that came are too short."
)
