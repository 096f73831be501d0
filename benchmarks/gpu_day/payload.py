"""What is brought to the machine with the GPU, and how it is cut into what can be carried at once.

| in the payload | what it is |
| --- | --- |
| `payload.json` | this page's facts, for the parts |
| `teacher.safetensors` | a teacher's weights, those blocks that are used; the others are zero |
| `data/` | good and test images of a product |
| `wheels/` | packages that are missing there |
| `serve/`, `tests/` | packages for the environment of the server and of the tests |
| `rtx/` | TensorRT-RTX |
| `code/` | this repository without results and pictures |
"""

import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import OptionError
from runtime.storage.json_files import read_json
from train.settings import TeacherSettings

PAYLOAD_NAME = "payload.json"
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What the parts work with.

    Attributes:
        teacher: The name by which timm knows the teacher.
        teacher_file: Its weights, in the payload's folder.
        teacher_words: Where they come from.
        layers: The two blocks that are looked at.
        image_size: Side of the network's square in px.
        data: The images' folder, in the payload's folder.
        product: Its class, where it has several.
    """

    teacher: str
    teacher_file: str
    teacher_words: str
    layers: tuple[int, int]
    image_size: int
    data: str
    product: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "Payload":
        """Read the description of a payload.

        Raises:
            ModelError: It is missing or damaged.
        """
        return read_json(folder / PAYLOAD_NAME, cls)

    def teacher_settings(self, folder: Path, *, device: str, precision: str) -> TeacherSettings:
        """How the teacher is loaded from the payload's folder."""
        return TeacherSettings(
            teacher=self.teacher,
            layers=self.layers,
            teacher_weights=folder / self.teacher_file,
            teacher_precision=precision,
            device=device,
        )


def pack(folder: Path, names: Sequence[str], archive: Path) -> None:
    """Put files and folders into one compressed archive.

    Args:
        folder: Where they stand.
        names: Of these files and folders.
        archive: The file to write.
    """
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        for name in names:
            tar.add(folder / name, name)


def split(archives: Sequence[Path], out: Path, *, largest_mib: int) -> list[Path]:
    """Cut archives into pieces, and fill folders with them one after the other.

    `cat NAME.* | tar xz` puts an archive together again, as soon as all its pieces are there.

    Args:
        archives: In the order in which they are needed.
        out: Folder for the folders `carry-1`, `carry-2` and so on.
        largest_mib: The most that one of these may hold.

    Returns:
        The folders.

    Raises:
        OptionError: The most is less than 1 MiB.
    """
    if largest_mib < 1:
        raise OptionError(f"largest_mib is {largest_mib}; expected at least 1")
    folders: list[Path] = []
    room = 0
    for archive in archives:
        with archive.open("rb") as file:
            number = 0
            while block := file.read(room or largest_mib * _MIB):
                if not room:
                    folders.append(out / f"carry-{len(folders) + 1}")
                    folders[-1].mkdir(parents=True)
                    room = largest_mib * _MIB
                (folders[-1] / f"{archive.name}.{number:03}").write_bytes(block)
                room -= len(block)
                number += 1
    return folders
