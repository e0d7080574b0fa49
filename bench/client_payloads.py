"""What the bench of the client logs: a credit decision of 20 features, and one call of a language model."""

from datetime import UTC, datetime
from typing import Any

APPLICATION = "loans"
VERSION = "1.0"

LOAN = (
    {
        "amount": 12500.0,
        "term_months": 36,
        "interest_rate": 0.0649,
        "annual_income": 58250.75,
        "debt_to_income": 0.2713,
        "credit_score": 712,
        "open_accounts": 7,
        "delinquencies_2y": 0,
        "inquiries_6m": 1,
        "revolving_balance": 4312.18,
        "revolving_utilization": 0.384,
        "employment_years": 6.5,
        "home_ownership": "mortgage",
        "purpose": "debt_consolidation",
        "state": "CA",
        "zip3": "941",
        "verified": True,
        "joint_application": False,
        "channel": "web",
        "device_risk": 0.0312,
    },
    {"default": 0.0712, "decision": "approve"},
)
"""20 features, 587 bytes as an event."""

_SENTENCE = "Explain to the applicant, in two plain sentences, which of the listed facts weighed most. "
LLM = (
    {"model": "small-2", "temperature": 0.2, "max_tokens": 400, "prompt": _SENTENCE * 18},
    {"completion": "Your income covers the monthly payment well; the recent inquiry weighed a little. " * 15},
)
"""A prompt and a completion, 3 KB as an event."""

PAYLOADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"loan": LOAN, "llm": LLM}

# A floor reads no clock: the time of the event is given to it, as all else is.
AT = datetime(2026, 11, 23, 11, 0, 0, 123456, tzinfo=UTC).isoformat().replace("+00:00", "Z")


def event_of(inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    """The event that `log_record` makes of these, field by field, with a time that is given."""
    return {"v": 1, "at": AT, "logged_at": AT, "version": VERSION, "inputs": inputs, "outputs": outputs}
