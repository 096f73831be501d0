"""All parts of a running console, opened and closed together."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from triton_repo.console.archive.database import open_database
from triton_repo.console.archive.follow import Follower
from triton_repo.console.archive.inspections import Inspections
from triton_repo.console.archive.pauses import Pauses
from triton_repo.console.archive.retention import Retention
from triton_repo.console.live.live import Live
from triton_repo.console.live.server_state import ServerWatch
from triton_repo.console.people.invitation import Invitation
from triton_repo.console.people.people import People
from triton_repo.console.people.sessions import Sessions, Tries
from triton_repo.console.products.installed import Installed
from triton_repo.console.products.threshold_preview import EvidenceOfLate
from triton_repo.console.settings import ConsoleSettings


@dataclass(frozen=True, kw_only=True)
class Console:
    """What the pages ask.

    Attributes:
        settings: What it was started with.
        inspections: The archive's.
        pauses: Of the line.
        people: Who may sign in.
        sessions: Who has.
        tries: Wrong passwords of late.
        invitation: Lets the first engineer in.
        live: The latest inspections and the shift's counters.
        watch: Whether the server works.
        follower: Takes the server's records over.
        installed: The products of the server's repository.
        evidence: What is known of their scores.
    """

    settings: ConsoleSettings
    inspections: Inspections
    pauses: Pauses
    people: People
    sessions: Sessions
    tries: Tries
    invitation: Invitation
    live: Live
    watch: ServerWatch
    follower: Follower
    installed: Installed
    evidence: EvidenceOfLate


@contextmanager
def open_console(settings: ConsoleSettings) -> Iterator[Console]:
    """Open the archive, follow the server's records, and watch the server.

    Raises:
        OptionError: The folder of records or the archive cannot be opened, or another console reads
            there.
        ModelError: A later version wrote the archive.
    """
    with ExitStack() as stack:
        engine = open_database(settings.database)
        stack.callback(engine.dispose)
        inspections = Inspections(engine)
        people = People(engine)
        installed = Installed(settings.repository)
        live = Live(inspections, settings.shift_starts)
        watch = stack.enter_context(ServerWatch(settings.metrics))
        stack.enter_context(Retention(inspections, keep_days=settings.keep_days))
        follower = Follower(settings.folder.journal, inspections, tell=live.tell)
        stack.enter_context(follower)
        yield Console(
            settings=settings,
            inspections=inspections,
            pauses=Pauses(engine),
            people=people,
            sessions=Sessions(engine),
            tries=Tries(),
            invitation=Invitation(secrets.token_urlsafe(24) if people.are_none() else None),
            live=live,
            watch=watch,
            follower=follower,
            installed=installed,
            evidence=EvidenceOfLate(inspections, installed),
        )
