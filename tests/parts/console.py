"""A console in a process of its own or in this one, and windows of a browser that look at it."""

import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page, Route

from runtime.records.journal import Journal
from runtime.records.record import InspectionRecord
from triton_repo.console.app import make_app
from triton_repo.console.console import Console
from triton_repo.console.people.roles import Role

NAME, PASSWORD = "Ada", "ten letters and more"


@dataclass
class RunningConsole:
    """A console in a process of its own, started by the command."""

    records: Path
    metrics: str
    options: tuple[str, ...] = ()
    port: str = "0"
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "l2bt", "console", "--records", str(self.records)]
        command += ["--inboxes", str(self.records.parent / "inboxes")]
        command += ["--metrics", self.metrics, "--port", self.port, *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if "://" in line:
                break
        else:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())
        # What it says later must not fill the pipe.
        threading.Thread(target=self.process.communicate, daemon=True).start()

    def __enter__(self) -> "RunningConsole":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def link(self) -> str:
        return self.lines[-1]

    @property
    def address(self) -> str:
        parts = urlsplit(self.link)
        return f"{parts.scheme}://{parts.netloc}"

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def kill(self) -> None:
        """As a machine without power would."""
        self.process.kill()
        self.process.wait(20)


@dataclass
class Pages:
    """A console in this process, and whoever is signed in there."""

    console: Console
    journal: Journal

    def visitor(self, role: Role | None = None) -> TestClient:
        """Somebody without a browser: signed in with a role, or not at all."""
        client = TestClient(
            make_app(self.console),
            base_url="http://127.0.0.1",
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        if role is not None:
            self.console.people.add(role, role, PASSWORD, by="test")
            answer = client.post(
                "/sign-in", data={"name": role, "password": PASSWORD, "then": "/archive"}
            )
            assert answer.headers["Location"] == "/archive"
        return client

    def csrf(self, client: TestClient) -> str:
        found = re.search('data-csrf="([^"]+)"', client.get("/").text)
        assert found is not None
        return found[1]

    def write(self, *records: InspectionRecord) -> None:
        """As a server does, and wait until they are in the archive."""
        wanted = self.console.inspections.latest_number() + len(records)
        for one in records:
            self.journal.append(one)
        for _ in range(200):
            if self.console.inspections.latest_number() >= wanted:
                return
            time.sleep(0.05)
        raise AssertionError(f"the records did not come: {self.console.follower.failure}")


class Watched:
    """A browser window that reaches loopback alone, and keeps what went wrong in it."""

    def __init__(self, browser: Browser, *, width: int = 1280) -> None:
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.context.route("**/*", self._let_through)
        self.page: Page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._keep)

    def _let_through(self, route: Route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            self.elsewhere.append(route.request.url)
            route.abort()

    def _keep(self, message: object) -> None:
        if getattr(message, "type", "") == "error":
            self.errors.append(getattr(message, "text", ""))

    def sign_in(self, address: str, name: str = NAME, password: str = PASSWORD) -> None:
        self.page.goto(f"{address}/sign-in")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Live").wait_for(state="attached")

    def is_quiet(self) -> bool:
        """Whether nothing went wrong in it, and nothing beyond loopback was asked for."""
        return not self.errors and not self.elsewhere
