"""The policy by which the view of ClickHouse folds: an application's rules as a row of `policies`, and back."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from joinback_worker.law.rules import CENTURY_S, FieldRules, PlainField, Policy, Rules, plain_fields

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Declared(Struct):
    join_window_s: int
    maturity_s: int | None
    labels: list[str]
    fields: list[PlainField]


def declared(rules: Rules) -> str:
    """Return the rules as the view reads them: a JSON object of the members of `_Declared`."""
    plain = _Declared(rules.join_window_s, rules.row_maturity_s, rules.labels, list(plain_fields(rules)))
    return msgspec.json.encode(plain).decode()


def policy_from(text: str, now_us: int | None) -> Policy:
    """Return the policy that folds as the view does. Raises msgspec.MsgspecError if the text is not of `declared`."""
    if not text:
        # No drain has published rules yet, so no feedback is late.
        return Policy(Rules(join_window_s=CENTURY_S))
    plain = msgspec.json.decode(text, type=_Declared)
    rules = Rules(
        join_window_s=plain.join_window_s,
        # The row's maturity. Fields that declare none take it too, and theirs is never later than the row's.
        maturity_s=plain.maturity_s,
        labels=plain.labels,
        feedback={field.name: _rules_of(field) for field in plain.fields},
    )
    return Policy(rules, None if now_us is None else _EPOCH + timedelta(microseconds=now_us))


def _rules_of(field: PlainField) -> FieldRules:
    default: Any = UNSET if field.default is None else msgspec.json.decode(field.default)
    return FieldRules(
        type=field.scalar,  # type: ignore[arg-type]
        reducer=field.reducer,  # type: ignore[arg-type]
        maturity_s=field.maturity_s,
        default=default,
        sources=field.sources,
    )
