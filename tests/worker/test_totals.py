"""Figures of parts add up to those of the whole."""

from hypothesis import given
from hypothesis import strategies as st

from joinback_worker.drain.drained import Drained
from joinback_worker.notes.accounting import Accounting

counts = st.integers(0, 10**6)
drains = st.builds(
    Drained,
    claimed=counts,
    dead=counts,
    unfinished=st.booleans(),
    error=st.none() | st.sampled_from(["a", "b"]),
    oldest_pending_s=st.integers(0, 10**6).map(float),
)
books = st.builds(
    Accounting,
    received=counts,
    in_rows=counts,
    dead_by_reason=st.dictionaries(st.sampled_from("abc"), counts),
    troubles=st.lists(st.sampled_from("xy"), max_size=2),
    oldest_pending_s=st.integers(0, 10**6).map(float),
)


@given(drains, drains, drains)
def test_drains_add_up_in_any_grouping(a: Drained, b: Drained, c: Drained) -> None:
    """The sum is the same however the parts are grouped, and a drain that did nothing changes none."""
    assert (a + b) + c == a + (b + c)
    assert a + Drained() == a == Drained() + a
    assert (a + b).claimed == a.claimed + b.claimed
    assert (a + b).oldest_pending_s == max(a.oldest_pending_s, b.oldest_pending_s)
    assert (a + b).unfinished == (a.unfinished or b.unfinished)
    assert (a + b).error == (a.error or b.error)


@given(books, books)
def test_books_add_up(a: Accounting, b: Accounting) -> None:
    """Counts by reason are summed by name, troubles kept, and neither part is changed by it."""
    before = repr((a, b))
    both = a + b
    assert both.difference == a.difference + b.difference
    assert both.dead_by_reason == {
        name: a.dead_by_reason.get(name, 0) + b.dead_by_reason.get(name, 0)
        for name in {*a.dead_by_reason, *b.dead_by_reason}
    }
    assert both.troubles == a.troubles + b.troubles
    both.troubles.append("later")
    assert repr((a, b)) == before
