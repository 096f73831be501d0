"""The server's log keeps what matters, and rotates under a server that goes on writing."""

from pathlib import Path

from triton_repo.server.server_log import ServerLog


def test_a_start_appends_and_the_end_tells_of_the_last_start_alone(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "folder" / "server.log")
    with log.open() as file:
        file.write(b"why the first one ended\n")
    with log.open() as file:
        file.write(b"why the second one ended\n")
    assert log.path.read_text() == "why the first one ended\nwhy the second one ended\n"
    assert log.end() == "why the second one ended\n"
    assert log.end(characters=6) == "ended\n"


def test_rotating_moves_aside_what_was_written_and_leaves_no_hole(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log")
    with log.open() as file:
        file.write(b"before\n")
        file.flush()
        log.rotate()
        file.write(b"after\n")
    assert (tmp_path / "server.log.1").read_bytes() == b"before\n"
    assert log.path.read_bytes() == b"after\n"
    assert log.end() == "after\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log", "server.log.1"]


def test_it_is_rotated_once_it_is_large(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log", most_bytes=10)
    with log.open() as file:
        file.write(b"123456789")
        file.flush()
        assert not log.rotate_if_large()
        file.write(b"0")
        file.flush()
        assert log.rotate_if_large()
    assert log.path.read_bytes() == b""


def test_whatever_bytes_are_in_it_the_end_is_text(tmp_path: Path) -> None:
    log = ServerLog(tmp_path / "server.log")
    with log.open() as file:
        file.write(b"caf\xe9")
    assert log.end() == "caf�"
