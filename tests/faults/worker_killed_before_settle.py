"""`joinback worker`, killed by SIGKILL at the one moment that matters: the sink has committed, Redis knows nothing."""

import os
import signal
from typing import Any

from joinback.settings import settings_from
from joinback_worker.drain.source import Source
from joinback_worker.main import run


async def die(*_: Any) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


Source.settle = die  # type: ignore[method-assign]
run(settings_from())
