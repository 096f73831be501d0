"""Copies of a model repository that follow a shared one."""

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.load.line.plant import wait_for
from runtime.client.client import Client
from runtime.errors import ModelError, OptionError, SourceAwayError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.changes import change_card
from runtime.products.store.product_store import ENSEMBLE, STORE, ProductStore
from runtime.products.store.product_table import TABLE_NAME
from runtime.storage.bucket import S3Options
from tests.parts.s3 import BUCKET, put, running_s3
from tests.parts.small import random_image
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.following import RepositorySource, follow_until
from triton_repo.server.server import ServerSettings, TritonServer


@pytest.fixture
def shared(tiny_exported: ExportedModel, tmp_path: Path) -> Path:
    return build_repository(tiny_exported, tmp_path / "shared")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Options]:
    with running_s3() as options:
        yield options


def change(repository: Path, image_score: float) -> int:
    """Make a new version of the product active; returns its number."""
    store = ProductStore.of(repository)
    served = store.serving()
    assert served.version is not None
    threshold = replace(served.card.threshold, image_score=image_score)
    card = replace(served.card, threshold=threshold)
    return change_card(store, card, based_on=served.version)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def test_a_copy_is_the_repository_itself(shared: Path, tmp_path: Path) -> None:
    RepositorySource(str(shared)).copy(tmp_path / "copy")
    assert files(tmp_path / "copy") == files(shared)


def test_a_copy_out_of_a_bucket_is_the_repository_itself(
    shared: Path, tmp_path: Path, s3: S3Options
) -> None:
    put(s3, {f"models/{name}": content for name, content in files(shared).items()})
    source = RepositorySource(f"{BUCKET}/models", s3)
    source.copy(tmp_path / "copy")
    assert files(tmp_path / "copy") == files(shared)
    before = files(shared)
    version = change(shared, 0.5)
    changed = {name: one for name, one in files(shared).items() if before.get(name) != one}
    put(s3, {f"models/{name}": content for name, content in changed.items()})
    assert source.follow(tmp_path / "copy")
    assert ProductStore.of(tmp_path / "copy").serving().version == version


def test_a_running_server_follows_a_product_that_is_changed_elsewhere(
    shared: Path, tmp_path: Path
) -> None:
    copy, stop = tmp_path / "copy", threading.Event()
    source = RepositorySource(str(shared))
    source.copy(copy)
    following = threading.Thread(
        target=follow_until, args=(source, copy), kwargs={"every_s": 0.1, "stop": stop}
    )
    following.start()
    try:
        settings = ServerSettings.on_free_ports(tmp_path / "server.log")
        with TritonServer(copy, settings) as server, Client(server.grpc_address) as client:
            before = client.inspect(random_image(60, 90), want_map=False)
            version = change(shared, 1e-6)
            wait_for(lambda: ProductStore.of(copy).serving().version == version, "the new version")
            after = client.inspect(random_image(60, 90), want_map=False)
    finally:
        stop.set()
        following.join()
    assert (before.version, after.version) == (version - 1, version)
    assert after.is_defective


def test_a_share_that_is_away_stops_nothing(
    shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy, stop = tmp_path / "copy", threading.Event()
    source = RepositorySource(str(shared))
    source.copy(copy)
    shared.rename(tmp_path / "away")
    threading.Timer(0.5, stop.set).start()
    follow_until(source, copy, every_s=0.1, stop=stop)
    told = [one for one in caplog.messages if "stays as it is" in one]
    assert len(told) == 1
    assert "the share is away" in told[0]
    (tmp_path / "away").rename(shared)
    version = change(shared, 0.5)
    assert source.follow(copy)
    assert ProductStore.of(copy).serving().version == version


def test_a_version_that_is_missing_leaves_the_copy_as_it_was(shared: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    source = RepositorySource(str(shared))
    source.copy(copy)
    before, version = files(copy), change(shared, 0.5)
    shutil.rmtree(ProductStore.of(shared).version_folder("plate", version))
    with pytest.raises(ModelError, match=f"lacks l2bt/products/plate/{version}"):
        source.follow(copy)
    assert files(copy) == before


def test_another_network_is_refused(shared: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    source = RepositorySource(str(shared))
    source.copy(copy)
    table = shared / ENSEMBLE / STORE / TABLE_NAME
    table.write_text(table.read_text().replace('"capacity": 8', '"capacity": 9'))
    with pytest.raises(ModelError, match="another network"):
        source.follow(copy)


def test_an_empty_folder_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceAwayError, match="expected a model repository"):
        RepositorySource(str(tmp_path / "nothing")).copy(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(OptionError, match="belong to a source"):
        RepositorySource(str(tmp_path), S3Options(s3_anonymous=True))
