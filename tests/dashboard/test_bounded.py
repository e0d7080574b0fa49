"""What pages ask is bounded: the same once, some at a time, each for so long."""

import asyncio

import pytest

from joinback_worker.dashboard.bounded import AT_ONCE, WAITING_MAX, Bounded, TooLong, TooMany


class Work:
    """Questions that end when they are let go."""

    def __init__(self) -> None:
        self.begun = self.most = self.running = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        return number


async def ticks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_same_question_is_asked_once() -> None:
    """A refresh that overlaps waits for the one before, and both get its answer; the next one asks anew."""

    async def run() -> None:
        bounded, work = Bounded(), Work()
        both = [asyncio.create_task(bounded.ask("a", work)) for _ in range(2)]
        await ticks()
        work.go.set()
        assert await asyncio.gather(*both) == [1, 1]
        assert await bounded.ask("a", work) == 2

    asyncio.run(run())


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    """A viewer whose browser is closed does not cancel what another waits for."""

    async def run() -> None:
        bounded, work = Bounded(), Work()
        first, second = (asyncio.create_task(bounded.ask("a", work)) for _ in range(2))
        await ticks()
        first.cancel()
        await ticks()
        work.go.set()
        assert await second == 1

    asyncio.run(run())


def test_some_at_a_time_and_not_too_many_in_all() -> None:
    """The stores get AT_ONCE questions; beyond WAITING_MAX a page says so at once."""

    async def run() -> None:
        bounded, work = Bounded(), Work()
        asked = [asyncio.create_task(bounded.ask(str(n), work)) for n in range(WAITING_MAX)]
        await ticks()
        with pytest.raises(TooMany):
            await bounded.ask("one more", work)
        work.go.set()
        await asyncio.gather(*asked)
        assert work.most == AT_ONCE
        assert await bounded.ask("one more", work) == WAITING_MAX + 1

    asyncio.run(run())


def test_a_question_past_its_time_is_given_up() -> None:
    """It says what to do; and while what it began is not over, it keeps its place, and others have theirs."""

    async def run() -> None:
        bounded, still_runs, given_up = Bounded(timeout_s=0.01), asyncio.Event(), asyncio.Semaphore(0)

        async def stubborn() -> None:
            try:
                await asyncio.sleep(3_600)
            finally:
                given_up.release()
                await still_runs.wait()

        asked = [asyncio.create_task(bounded.ask(str(n), stubborn)) for n in range(AT_ONCE)]
        for _ in range(AT_ONCE):
            await given_up.acquire()
        with pytest.raises(TooLong, match="joinback report"):
            await bounded.ask("waits for a place", stubborn)
        still_runs.set()
        for error in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(error, TooLong)

        async def quick() -> int:
            return 1

        assert await bounded.ask("now there is room", quick) == 1

    asyncio.run(run())


def test_an_error_is_everybodys() -> None:
    """Each who waits gets it, and the next one asks anew."""

    async def run() -> None:
        bounded = Bounded()

        async def fails() -> None:
            await asyncio.sleep(0)
            raise ValueError

        found = await asyncio.gather(*(bounded.ask("a", fails) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [ValueError] * 3

    asyncio.run(run())
