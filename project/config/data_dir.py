"""Files in `DATA_DIR`, readable by their owner only."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile


def restrict_database_permissions(folder: Path) -> None:
    """Remove other users' access to Mailrail's SQLite files, because earlier versions created the files without a umask.

    The directory keeps its mode, because it may be shared on purpose.
    """
    for file in folder.glob("*.sqlite3*"):
        status = file.stat()
        if status.st_mode & stat.S_IRWXO and status.st_uid == os.geteuid():
            file.chmod(stat.S_IMODE(status.st_mode) & ~stat.S_IRWXO)


def write_if_missing(path: Path, text: str) -> None:
    """Write a file atomically, with mode 600, unless it exists. If several processes write it at once, the first one wins."""
    with NamedTemporaryFile("w", dir=path.parent) as temporary, suppress(FileExistsError):  # created with mode 600
        temporary.write(text)
        temporary.flush()
        path.hardlink_to(temporary.name)  # fails if the file exists
