"""SDKs that send events to a service of their makers, here to a local stub; each with its own defaults.

Each imports its library when it is made, so that one pays for itself only.
"""

from typing import Any


class _Sentry:
    def __init__(self, backend: str) -> None:
        import sentry_sdk

        sentry_sdk.init(dsn=backend.replace("://", "://key@") + "/1", enable_logs=True)
        self._sdk = sentry_sdk

    def flush(self) -> None:
        self._sdk.flush(60)


class SentryLog(_Sentry):
    chunk = 900

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        from sentry_sdk import logger

        self._info = logger.info

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._info("prediction", attributes={"key": key, "inputs": inputs, "outputs": outputs})


class SentryEvent(_Sentry):
    chunk = 90

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        extra = {"key": key, "inputs": inputs, "outputs": outputs}
        self._sdk.capture_event({"message": "prediction", "level": "info", "extra": extra})


class PosthogCapture:
    chunk = 9_000

    def __init__(self, backend: str) -> None:
        from posthog import Posthog

        self._client = Posthog("key", host=backend)

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._client.capture("prediction", distinct_id=key, properties={"inputs": inputs, "outputs": outputs})

    def flush(self) -> None:
        self._client.flush()


class LangfuseEvent:
    chunk = 1_800

    def __init__(self, backend: str) -> None:
        from langfuse import Langfuse

        self._client = Langfuse(public_key="key", secret_key="secret", base_url=backend)

    def log(self, key: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
        self._client.create_event(name="prediction", input=inputs, output=outputs, metadata={"key": key})

    def flush(self) -> None:
        self._client.flush()
