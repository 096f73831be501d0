"""A station file: checked as a whole before anything starts."""

from pathlib import Path

import pytest

from runtime.errors import OptionError
from runtime.station.settings.signal_settings import STDOUT, JsonLinesSignal
from runtime.station.settings.source_settings import FolderSource
from runtime.station.settings.station_file import read_station
from runtime.station.settings.station_settings import StationSettings

WHOLE = """
name = "press3"
folder = "memory"
[inspection]
model = "exported/parts"
not_inspected = "reject"
when_full = "refuse"
[[sources]]
kind = "folder"
name = "in"
folder = "incoming"
[[sources]]
kind = "genicam"
name = "side"
camera = "Aravis-GV01"
pixels = "Mono12"
scale = "0..4095"
trigger = "message"
[[signals]]
kind = "mqtt"
name = "broker"
broker = "127.0.0.1:1883"
topic = "plant/press3"
commands = true
[[signals]]
kind = "json-lines"
name = "lines"
"""


def read(folder: Path, text: str) -> StationSettings:
    path = folder / "station.toml"
    path.write_text(text)
    return read_station(path)


def test_relative_paths_begin_at_the_files_own_folder(tmp_path: Path) -> None:
    settings = read(tmp_path, WHOLE)
    folder = settings.sources[0]
    assert isinstance(folder, FolderSource)
    assert folder.folder == tmp_path / "incoming"
    assert settings.inspection.model == tmp_path / "exported" / "parts"
    assert settings.folder == tmp_path / "memory"


def test_a_hyphen_is_the_output_stream_and_no_path(tmp_path: Path) -> None:
    signal = read(tmp_path, WHOLE).signals[1]
    assert isinstance(signal, JsonLinesSignal)
    assert signal.path == STDOUT


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('not_inspected = "reject"\n', "", ("inspection", "not_inspected")),
        ('when_full = "refuse"\n', "", ("inspection", "when_full")),
        ('"reject"', '"burn"', ("inspection.not_inspected", "burn", "accept", "review")),
        ('"refuse"', '"drop"', ("inspection.when_full", "drop", "drop-oldest", "wait")),
        ('kind = "folder"', 'kind = "foldr"', ("sources 'in'", "foldr", "genicam", "camera")),
        ('"incoming"', '"incoming"\nsetle_s = 3', ("sources 'in'", "setle_s")),
        ('"incoming"', '"incoming"\npoll_s = "often"', ("sources 'in'", "poll_s", "float")),
        ('"incoming"', '"incoming"\npoll_s = 0', ("sources 'in'", "poll_s", "more than 0")),
        ('"incoming"', '"incoming"\nafter = "move"', ("sources 'in'", "move_to")),
        ('name = "in"', 'name = "in/out"', ("in/out", "letters")),
        ('name = "in"', 'name = "side"', ("sources", "same name")),
        ('scale = "0..4095"\n', "", ("sources 'side'", "Mono12", 'scale = "0..4095"')),
        ('"0..4095"', '"4095"', ("sources 'side'", "4095", "0..4095")),
        ('"0..4095"', '"9..3"', ("sources 'side'", "9..3")),
        ('"Mono12"', '"Mono12Packed"', ("sources 'side'", "Mono12Packed", "Mono12,")),
        ('trigger = "message"', 'trigger = "software"', ("sources 'side'", "every_s")),
        ('trigger = "message"', 'trigger = "hardware"', ("sources 'side'", "trigger_line")),
        ("commands = true", "", ("side", "messages", "commands = true")),
        ('"127.0.0.1:1883"', '"localhost"', ("signals 'broker'", "localhost", "host:port")),
        ('"plant/press3"', '"plant/#"', ("signals 'broker'", "plant/#")),
        ('"refuse"', '"wait"', ("side", "cannot wait", "drop-oldest")),
        (
            'model = "exported/parts"',
            'model = "m"\nserver = "127.0.0.1:8001"',
            ("inspection", "model", "server"),
        ),
        ('"refuse"', '"refuse"\nworkers = 2', ("inspection", "workers", "server")),
        ('"refuse"', '"refuse"\npatience_s = 2.0', ("inspection", "patience_s", "server")),
        ('name = "press3"\n', "", ("name",)),
        ('name = "press3"', "name = ", ("no TOML",)),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_what_would_be_right(
    tmp_path: Path, before: str, after: str, named: tuple[str, ...]
) -> None:
    assert before in WHOLE
    with pytest.raises(OptionError) as refused:
        read(tmp_path, WHOLE.replace(before, after, 1))
    assert "station.toml" in str(refused.value)
    assert [word for word in named if word not in str(refused.value)] == []


def test_a_station_that_tells_nobody_is_refused(tmp_path: Path) -> None:
    text = WHOLE.partition("[[signals]]")[0].replace('trigger = "message"', "")
    with pytest.raises(OptionError, match="signals"):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"nowhere\.toml cannot be read"):
        read_station(tmp_path / "nowhere.toml")
