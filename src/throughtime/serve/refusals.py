"""What a server says when it does not do what was asked: a status, a word for programs, a line."""

from typing import Any

from throughtime.errors import ThroughtimeError

STATUSES = {
    "malformed": 400,
    "unauthorised": 401,
    "not_found": 404,
    "unknown_sequence": 404,
    "method_not_allowed": 405,
    "slow": 408,
    "sequence_open": 409,
    "too_large": 413,
    "wrong_type": 415,
    "invalid": 422,
    "unreadable_row": 422,
    "foreign_state": 422,
    "defect": 500,
    "busy": 503,
    "elsewhere": 503,
    "full": 503,
    "late": 503,
    "stopping": 503,
    "store_unavailable": 503,
}
"""The status of each code."""

_RETRY_AFTER = {
    "busy": 1,
    "elsewhere": 5,
    "full": 5,
    "late": 1,
    "stopping": 5,
    "store_unavailable": 2,
}


class Refusal(ThroughtimeError):
    """A request or a step that is refused.

    Args:
        code: one of `STATUSES`, for programs.
        message: one line: what was expected, what came, what to do.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which it may be asked again, None where that is of no use.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUSES[code]
        self.retry_after = _RETRY_AFTER.get(code)

    def to_json(self) -> dict[str, Any]:
        """Return what stands under `error` in an answer."""
        return {"code": self.code, "message": " ".join(str(self).split())}

    def headers(self) -> dict[str, str]:
        """Return the headers that go with it."""
        found = {}
        if self.retry_after is not None:
            found["Retry-After"] = str(self.retry_after)
        if self.status == STATUSES["unauthorised"]:
            found["WWW-Authenticate"] = "Bearer"
        return found
