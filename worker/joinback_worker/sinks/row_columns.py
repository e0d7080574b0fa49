"""The columns of a row, as the row stores write them, by what they hold and what may change them."""

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
"""What may change while the predictions stay: version and environment are an orphan's, whose feedback says them."""
DROPPED_ADVICE = "feedback_is_default; the column is gone, default_fields says more"
"""For whoever has a view of their own on the column that migration 2 drops."""
