"""The folder of an export: what may be one, and how all its files come into it at once."""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from throughtime.errors import OptionError
from throughtime.files import write_atomically


def folder_to_export_to(out: str | os.PathLike[str]) -> Path:
    """Return the path of a folder that need not be there yet.

    Raises:
        OptionError: a file is there.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"expected a folder to export to, got the file {folder}")
    return folder


def put_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder, made where it is not there: all of them, or none.

    They are written aside and moved last, so files of two exports never lie side by side.

    Args:
        folder: where they go; other files in it stay as they are.
        contents: what each holds, by name.

    Raises:
        OptionError: a folder has the name of one of them.
        OSError: as from writing (no permission, disk full); the old files are then untouched.
    """
    if taken := [name for name in contents if (folder / name).is_dir()]:
        raise OptionError(f"expected to write the file {taken[0]} in {folder}, got a folder there")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export.") as name:
            for file, content in contents.items():
                write_atomically(Path(name, file), content)
            for file in contents:
                os.replace(Path(name, file), folder / file)
    except BaseException:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise
