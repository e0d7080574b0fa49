"""Metrics as text: served by a worker, or printed once."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from joinback.errors import ConfigurationError
from joinback.settings import Settings
from joinback_worker.operating.states import Overview

from .collector import JoinbackCollector
from .families import families


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve /metrics from a thread of this process, until it ends. Raises ConfigurationError if the port is taken."""
    registry = CollectorRegistry()
    registry.register(JoinbackCollector(settings))
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise ConfigurationError(
            f"no metrics at {host}:{port} ({error.strerror}); choose another --metrics-port or --metrics-host"
        ) from None


def text(overview: Overview) -> str:
    """Return an overview in Prometheus's text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Seen(overview))
    return generate_latest(registry).decode()


class _Seen(Collector):
    """A collector that always yields the same overview."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def collect(self) -> Iterator[Metric]:
        return families(self._overview)
