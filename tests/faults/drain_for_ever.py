"""A worker that does nothing but drain, with a lease of a second: as many moments to be stopped in as possible."""

import asyncio
import functools
import logging

from joinback.settings import settings_from
from joinback_worker.drain import drainer
from joinback_worker.drain.source import Source
from joinback_worker.logs import configure_logging

drainer.Source = functools.partial(Source, lease_s=1.0, claim_entries=50)  # type: ignore[assignment,misc]
configure_logging(logging.ERROR)
settings = settings_from()
while True:
    asyncio.run(drainer.drain_all(settings))
