"""Starting the server of the lesson: on this machine alone, on a port that is free."""

import secrets
import socket
from importlib.util import find_spec
from pathlib import Path

from throughtime.errors import DataError, OptionError
from throughtime.lab.page.learner import folder

HOST = "127.0.0.1"
A_YEAR = 365 * 24 * 3600


def serve(port: int, show: bool) -> None:
    """Serve the lesson on this machine until it is interrupted.

    Args:
        port: to listen on.
        show: whether to open a browser on it.

    Raises:
        OptionError: when NiceGUI is not installed or the port is taken.
        DataError: when there is no place to keep what is learned.
    """
    if find_spec("nicegui") is None:
        raise OptionError(
            "expected NiceGUI, which the page is made with, got none; "
            "pip install 'throughtime[lab]'"
        )
    _check(port)
    secret = _secret(folder())

    import torch
    from nicegui import ui

    from throughtime.lab.page.lesson import Lesson

    # The networks of the page are too small for more.
    torch.set_num_threads(1)
    Lesson(folder()).open()
    print(f"The lesson is at http://{HOST}:{port}. Ctrl-C ends it.", flush=True)
    ui.run(
        host=HOST,
        port=port,
        title="throughtime lab",
        favicon="🔁",
        dark=None,
        reload=False,
        show=show,
        tailwind=False,
        show_welcome_message=False,
        storage_secret=secret,
        # Cookies don't tell ports apart, so this one must not have a common name.
        session_middleware_kwargs={"session_cookie": "throughtime-lab", "max_age": A_YEAR},
    )


def _check(port: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise OptionError(
                f"expected a free port, got {port} ({why}); choose another by --port"
            ) from None


def _secret(kept: Path) -> str:
    """Return what cookies are signed with, the same at each start."""
    path = kept / "secret"
    try:
        if not path.exists():
            kept.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(32))
        return path.read_text()
    except OSError as error:
        raise DataError(
            f"expected to keep the lesson's progress in {kept}, got {error.strerror}; "
            "set XDG_STATE_HOME to a folder that can be written"
        ) from None
