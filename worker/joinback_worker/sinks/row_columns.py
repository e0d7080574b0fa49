"""The columns of a row, as row stores write them: which hold times or JSON, and which feedback may change."""

from joinback_worker.law.row import Row

COLUMNS = Row.__struct_fields__
TIMES = frozenset({"predicted_at", "feedback_at", "first_feedback_at", "logged_at", "matures_at"})
JSON = frozenset(
    {"inputs", "outputs", "tags", "feedback", "default_fields", "field_times", "feedback_events", "conflicts"}
)
FEEDBACK_COLUMNS = (
    "status",
    "environment",
    "version",
    "feedback",
    "default_fields",
    "field_times",
    "feedback_at",
    "first_feedback_at",
    "feedback_delay_s",
    "feedback_events",
    "clock_skew",
    "matures_at",
)
"""The columns that may change while the predictions stay the same. An orphan takes version and environment from its
feedback, so they are among them."""
DROPPED_ADVICE = "feedback_is_default; migration 2 drops that column, and default_fields replaces it"
"""The end of the error for somebody whose own view reads the column that migration 2 drops."""
