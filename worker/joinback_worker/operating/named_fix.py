"""The fix that an error names: our errors say what is wrong, then, after the last semicolon, what to do."""


def named_fix(error: str, otherwise: str = "") -> tuple[str, str]:
    """Return what an error says and the fix that it names; the whole of it and `otherwise` if it names none."""
    says, semicolon, fix = error.rpartition("; ")
    return (says, fix) if semicolon else (error, otherwise)
