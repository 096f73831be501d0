"""A real server that is asked all the time, while the product that it serves changes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from export.fuse import export_product
from runtime.client.client import Client
from runtime.errors import L2BTError
from runtime.images.decode import ImageArray
from runtime.products.store.changes import activate, add_version
from runtime.products.store.product_store import ProductStore
from train.students.bundle import open_bundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

# As a slow line does; a server that is asked without a pause takes half of a small machine.
_PART_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a server answered.

    Attributes:
        answers: How many.
        failures: Requests without an answer.
        versions: Versions that answered.
        mixed: Versions that gave one image more than one score.
    """

    answers: int
    failures: int
    versions: tuple[int, ...]
    mixed: int

    def describe(self) -> str:
        """In words."""
        return (
            f"{self.answers} answers of versions {', '.join(map(str, self.versions))}, "
            f"{self.failures} failed, {self.mixed} mixed"
        )


@dataclass
class AskedServer:
    """A server under way.

    Attributes:
        repository: Its model repository.
        scores: What each version answered.
        failures: Requests without an answer.
    """

    repository: Path
    scores: dict[int, set[float]] = field(default_factory=dict)
    answers: int = 0
    failures: int = 0

    def take_over(self, bundle: Path) -> None:
        """Serve a bundle as the product's next version."""
        store = ProductStore.of(self.repository)
        activate(store, *add_version(store, bundle))

    def summary(self) -> Asked:
        """What was answered so far."""
        return Asked(
            answers=self.answers,
            failures=self.failures,
            versions=tuple(sorted(self.scores)),
            mixed=sum(len(scores) > 1 for scores in self.scores.values()),
        )


@contextmanager
def asked_server(bundle: Path, image: ImageArray) -> Iterator[AskedServer]:
    """Serve a bundle, and ask for one image twice a second until it is left.

    Args:
        bundle: The product's folder.
        image: What is asked for.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        exported = export_product(open_bundle(bundle), folder / "exported", precision="fp32")
        repository = build_repository(exported, folder / "models")
        found = AskedServer(repository)
        ended = threading.Event()
        settings = ServerSettings.on_free_ports(folder / "log.txt")
        with TritonServer(repository, settings) as server:

            def ask() -> None:
                with Client(server.grpc_address) as client:
                    while not ended.wait(_PART_EVERY_S):
                        try:
                            answer = client.inspect(image, want_map=False)
                        except L2BTError:
                            found.failures += 1
                            continue
                        found.answers += 1
                        found.scores.setdefault(answer.version or 0, set()).add(answer.score)

            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(ask)
                try:
                    yield found
                finally:
                    ended.set()
                # Whatever else ended it fails the benchmark, rather than to leave fewer answers.
                asking.result()
