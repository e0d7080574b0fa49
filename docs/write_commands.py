"""Write docs/reference/commands.md from the help of the commands: `python docs/write_commands.py`."""

from collections.abc import Iterator
from pathlib import Path

import click

from joinback_worker.cli import cli

PAGE = Path(__file__).parent / "reference" / "commands.md"
WIDTH = 80
"""Columns of the narrowest terminal that people use."""

HEAD = """# Commands

This page has the help of every command, as `joinback COMMAND --help` prints it. It is for whoever types them.

Exit codes: 0 done; 1 the answer is no; 2 the command could not do it, and one line says what to change.

For completion in bash put `eval "$(_JOINBACK_COMPLETE=bash_source joinback)"` into `~/.bashrc`.
In zsh use `zsh_source` in `~/.zshrc`. In fish use `_JOINBACK_COMPLETE=fish_source joinback | source`.
"""


def page() -> str:
    """Return the page for the commands of this version."""
    root = click.Context(cli, info_name="joinback", terminal_width=WIDTH, **cli.context_settings)
    return "\n".join([HEAD, *_sections(cli, root)])


def _sections(group: click.Group, parent: click.Context) -> Iterator[str]:
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, parent=parent, info_name=name)
        yield f"## {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"
        if isinstance(command, click.Group):
            yield from _sections(command, context)


if __name__ == "__main__":
    PAGE.write_text(page())
