"""The command `l2bt console`."""

from typing import Annotated

from cyclopts import Parameter

from triton_repo.console.settings import ConsoleSettings


def console(settings: Annotated[ConsoleSettings, Parameter(name="*")] = ConsoleSettings()) -> None:
    """Open a web page for the people at the line, until it is interrupted.

    It shows what a server inspects that writes its inspections down (l2bt serve --records FOLDER),
    as it happens, and keeps them in an archive. Nothing is fetched from elsewhere. The first start
    prints a link that lets the first engineer in.

    Args:
        settings: Where it listens, what it shows and how long it keeps it.
    """
    from triton_repo.console.serving import serve_console

    serve_console(settings)
