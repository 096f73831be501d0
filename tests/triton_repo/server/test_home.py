"""Where the server is laid out, and what is said where that cannot be."""

from pathlib import Path

import pytest

from runtime.errors import OptionError
from triton_repo.server.doctor import check_proxy, check_server
from triton_repo.server.home import prepare_home


def test_a_cache_that_cannot_be_written_is_refused_with_the_variable_that_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write anywhere; where a file is, nobody can make a folder.
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    with pytest.raises(OptionError, match="set XDG_CACHE_HOME to a folder that this user may"):
        prepare_home()
    (check,) = check_server()
    assert "XDG_CACHE_HOME" in check.found


def test_without_a_home_folder_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(OptionError, match="no home folder.*XDG_CACHE_HOME"):
        prepare_home()


def test_the_doctor_names_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.plant:3128")
    (check,) = check_proxy()
    assert "https_proxy=http://proxy.plant:3128: not used" in check.found
    assert "--proxy" in check.advice


def test_without_a_proxy_the_doctor_says_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert list(check_proxy()) == []
