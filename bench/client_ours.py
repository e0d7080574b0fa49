"""The client itself, as a service uses it."""

from typing import Any

from client_payloads import APPLICATION, VERSION

import joinback


class Joinback:
    chunk = 40_000

    def __init__(self, backend: str) -> None:
        self._client = joinback.Client().init(backend)
        self._log = self._client.log_record

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._log(APPLICATION, inputs=inputs, outputs=outputs, join_key=key, version=VERSION)

    def flush(self) -> None:
        self._client.flush(60)
