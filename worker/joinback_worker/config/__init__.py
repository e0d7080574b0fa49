"""The rules of applications, as `JOINBACK_CONFIG` names them: read, drafted, shown, and looked over for typos."""
