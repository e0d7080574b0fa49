"""The rules of applications in the file that `JOINBACK_CONFIG` names: read and check it, show it, find its typos."""
