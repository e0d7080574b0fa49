"""The import of the metrics, which need a package that not every worker has."""

from types import ModuleType

from joinback.errors import ConfigurationError


def exposition() -> ModuleType:
    """Return the module that writes metrics. Raises ConfigurationError where prometheus-client is not installed."""
    try:
        from joinback_worker.metrics import exposition
    except ModuleNotFoundError:
        raise ConfigurationError(
            "metrics need prometheus-client; in Joinback's clone: pip install '.[worker,metrics]'"
        ) from None
    return exposition
