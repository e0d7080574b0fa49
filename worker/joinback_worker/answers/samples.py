"""What some rows hold: their fields, and their outputs with the paths to nested ones. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from joinback_worker.law.rules import Rules

from .dialect import Keys


def samples_of(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, dict[str, Any]]]:
    """Return outputs and feedback of some rows, decoded. Rows that are not JSON are left out."""
    found = []
    for outputs, feedback in rows:
        try:
            found.append((_decoded(outputs), _decoded(feedback)))
        except msgspec.DecodeError:
            continue
    return [(outputs, feedback) for outputs, feedback in found if isinstance(feedback, dict)]


def fields_of(samples: Iterable[tuple[Any, Mapping[str, Any]]], rules: Rules) -> list[str]:
    """Return the feedback fields: declared labels first, then the declared fields that were seen, then the others."""
    seen = sorted({name for _, feedback in samples for name in feedback})
    return list(dict.fromkeys([*rules.labels, *(name for name in rules.feedback if name in seen), *seen]))


def outputs_of(samples: Iterable[tuple[Any, Any]]) -> list[str]:
    """Return the names of the outputs seen, sorted; none if the output is a value."""
    return sorted(name for name in outputs_seen(samples) if name is not None)


def outputs_seen(samples: Iterable[tuple[Any, Any]]) -> dict[str | None, Keys]:
    """Return the names of outputs and the paths to them. If two have the same name, the shorter path counts."""
    found: dict[str | None, Keys] = {}
    for outputs, _ in samples:
        for keys in _leaves(outputs):
            name = ".".join(keys) if keys else None
            if name not in found or len(keys) < len(found[name]):
                found[name] = keys
    return found


def _leaves(outputs: Any) -> Iterator[Keys]:
    if not isinstance(outputs, dict):
        yield ()
        return
    for name, value in outputs.items():
        # An empty object counts as a value, with which nothing is compared.
        yield from ((name, *keys) for keys in _leaves(value or None))


def value_at(outputs: Any, name: str | None, keys: Keys) -> Any:
    if name is None:
        return None if isinstance(outputs, dict) else outputs
    for key in keys or (name,):
        outputs = outputs.get(key) if isinstance(outputs, dict) else None
    return outputs


def _decoded(cell: Any) -> Any:
    return msgspec.json.decode(cell) if isinstance(cell, str | bytes) else cell
