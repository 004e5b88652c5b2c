"""Where sequences go that leave a worker, and another one finds them: Redis.

A sequence is in one place at a time: what a worker takes is gone from the store in the same moment,
so that no two workers go on with it. The bytes are those of `Sessions.export`, which carry their
own digest; reading them executes nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

from throughtime.errors import OptionError
from throughtime.formats import plain
from throughtime.serve.refusals import Refusal

PAUSE = 1.0
"""Seconds for which a store that could not be reached is not asked again."""

AT_ONCE = 2 * 2**20
"""Bytes that are put at once, so that each attempt is over soon."""

_SECONDS = 1.0

_Result = TypeVar("_Result")


@runtime_checkable
class Store(Protocol):
    """Keeps sequences as bytes; every call raises a `Refusal` where it can't be reached."""

    def take(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those sequences that are there, which are there no longer."""

    def put(self, states: Mapping[str, bytes]) -> None:
        """Keep sequences."""


class RedisStore:
    """Sequences in Redis, each under the run's fingerprint and its own key.

    Args:
        url: as `redis://localhost:6379/0`.
        fingerprint: of the run; sequences of another one are never found.
        expiry: seconds after which a sequence that nobody took is forgotten.
        clock: gives the time in seconds.

    Raises:
        OptionError: the package redis is not installed, the address is none, or nothing that is
            new enough answers there.
    """

    def __init__(
        self,
        url: str,
        fingerprint: str,
        *,
        expiry: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise OptionError(
                "expected the package redis for a store, got none; pip install 'throughtime[redis]'"
            ) from None
        if not expiry >= 1:
            raise OptionError(f"expected an expiry of 1 second or more, got {expiry}")
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._prefix = f"throughtime:{fingerprint[:32]}:"
        self._milliseconds = int(expiry * 1000)
        self._clock = clock
        self._again_at = -float("inf")
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=_SECONDS,
                socket_connect_timeout=_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            # The command that takes is of Redis 6.2; older ones say here that they lack it.
            self._client.getdel(self._prefix)
        except (*self._errors, ValueError) as error:
            raise OptionError(
                "expected the address of a Redis of 6.2 or later, got "
                f"'{plain(_without_password(str(error), url), longest=200)}'; start one, or mend "
                "--redis"
            ) from None

    def take(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return those sequences that are there, which are there no longer."""

        def ask() -> list[bytes | None]:
            with self._client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.getdel(self._prefix + key)
                found: list[bytes | None] = pipeline.execute()
            return found

        each = zip(keys, self._asked(ask), strict=True)
        return {key: content for key, content in each if content is not None}

    def put(self, states: Mapping[str, bytes]) -> None:
        """Keep sequences until they are taken, or their time is over."""

        def ask(some: Mapping[str, bytes]) -> None:
            with self._client.pipeline(transaction=False) as pipeline:
                for key, content in some.items():
                    pipeline.set(self._prefix + key, content, px=self._milliseconds)
                pipeline.execute()

        some: dict[str, bytes] = {}
        size = 0
        for key, content in states.items():
            some[key] = content
            size += len(content) + len(key)
            if size >= AT_ONCE:
                self._asked(partial(ask, some))
                some, size = {}, 0
        if some:
            self._asked(partial(ask, some))

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _asked(self, ask: Callable[[], _Result]) -> _Result:
        """Ask Redis; after a failure not again for a while, as each attempt holds up all others."""
        if self._clock() >= self._again_at:
            try:
                return ask()
            except self._errors:
                self._again_at = self._clock() + PAUSE
        raise Refusal(
            "store_unavailable",
            "expected to ask Redis for a sequence, got no answer from it; ask again",
        )


def _without_password(text: str, url: str) -> str:
    """Return a message without the address, which may hold a password."""
    return text.replace(url, "REDIS")
