"""`python -m joinback_worker` is the `joinback` command, where the script's folder is not on the path."""

from .cli import main

main()
