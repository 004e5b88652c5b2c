"""What has to be there before a server begins: its packages, and the token that clients show."""

import os
from collections.abc import Mapping
from importlib.util import find_spec

from throughtime.errors import OptionError

TOKEN = "THROUGHTIME_TOKEN"
"""The variable that a token may be in."""

_PACKAGES = ("fastapi", "uvicorn", "websockets", "prometheus_client")

_LENGTHS = (8, 1024)


def check_can_serve() -> None:
    """Refuse where what a server needs is not installed.

    Raises:
        OptionError: it is not.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"expected {', '.join(missing)} for a server, got none; pip install "
            "'throughtime[serve]'"
        )


def read_token(
    path: str | os.PathLike[str] | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the token that clients must show: of a file, or else of the variable, or None.

    Raises:
        OptionError: the file can't be read, or it holds no token.
    """
    if path is not None:
        source = str(path)
        try:
            with open(path, encoding="ascii") as file:
                token = file.read(_LENGTHS[1] + 2).strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no ASCII text"
            raise OptionError(f"expected a token in {source}, got '{reason}'") from None
    elif TOKEN in environment:
        token, source = environment[TOKEN].strip(), TOKEN
    else:
        return None
    fits = _LENGTHS[0] <= len(token) <= _LENGTHS[1] and token.isascii() and token.isprintable()
    if not fits or " " in token:
        raise OptionError(
            f"expected a token of {_LENGTHS[0]} to {_LENGTHS[1]} printable characters without "
            f"spaces in {source}, got {len(token)} characters"
        )
    return token
