"""Whose each sequence is, and copies of it, where all workers find them: Redis.

A sequence has one record: its owner, which is a worker or nobody, and its bytes. A worker has a
lease that it renews. As long as that lasts, nobody else gets a sequence of its own; once it is
over, whoever is asked for one takes the copy. Each script below looks for the lease of the worker
that asks before anything else, so that one that was paused can't write over what others have gone
on with. The bytes are those of `Sessions.export`, which carry their own digest; reading them
executes nothing.
"""

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from throughtime.errors import OptionError
from throughtime.formats import plain
from throughtime.serve.refusals import Refusal

LEASE = 15.0
"""Seconds after which a worker that was not heard of counts as gone."""

PAUSE = 1.0
"""Seconds for which a store that could not be reached is not asked again, at least."""

AT_ONCE = 2 * 2**20
"""Bytes that are put at once, so that each attempt is over soon."""

_SECONDS = 1.0
_KEYS_AT_ONCE = 1000
_NOBODY = ""
_GONE = "-"
"""The owner of a copy that nobody has answered for yet: no worker has this name."""

_Result = TypeVar("_Result")

# A lease goes on to lapse while the machine sleeps.
_now = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Taken(NamedTuple):
    """A sequence that was found in the store.

    Attributes:
        content: its bytes.
        is_copy: whether its worker ended without handing it on, so that later rows may be missing.
    """

    content: bytes
    is_copy: bool


@runtime_checkable
class Store(Protocol):
    """Keeps the sequences of several workers; every call raises a `Refusal` if it can't be reached.

    Attributes:
        lease: seconds after which a worker that was not heard of counts as gone.
        expiry: seconds after which a sequence that nobody took is forgotten.
    """

    lease: float
    expiry: float

    @property
    def due(self) -> bool:
        """Whether the lease must be renewed before anything else."""

    def renew(self, keys: Callable[[], Iterable[str]]) -> set[str] | None:
        """Renew the lease.

        Args:
            keys: gives this worker's sequences, which are looked after where it had lapsed.

        Returns:
            Which of them are this worker's no longer; None where it had not, and all still are.
        """

    def take(self, keys: Sequence[str]) -> tuple[dict[str, Taken], set[str]]:
        """Take those sequences that are there; return also those that are another worker's."""

    def put(self, states: Mapping[str, bytes], copies: Collection[str]) -> set[str]:
        """Hand sequences on to whoever asks for them; return those that are not this worker's.

        Args:
            states: their bytes.
            copies: those of them that count as copies when they are taken.
        """

    def copy(self, states: Mapping[str, bytes]) -> set[str]:
        """Keep copies of this worker's sequences; return those that are not this worker's.

        Args:
            states: their bytes; of a sequence that has just begun none, in place of older ones.
        """

    def forget(self, keys: Iterable[str]) -> set[str]:
        """Forget sequences that ended; return those that are not this worker's."""


# In each, KEYS[1] is the lease of the worker that asks, and ARGV[1] the name of that worker.

_RENEW = """
local lasted = redis.call('EXISTS', KEYS[1])
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[4], 'NX')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {lasted, redis.call('GET', KEYS[2])}
"""

_LEASED = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local me = ARGV[1]
"""

_CHECK = f"""{_LEASED}
local lost = {{}}
for i = 2, #KEYS do
  local owner = redis.call('HGET', KEYS[i], 'owner')
  if not owner and ARGV[3] == 'claim' then
    redis.call('HSET', KEYS[i], 'owner', me, 'bytes', '')
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  elseif owner ~= me then
    lost[#lost + 1] = i - 2
  end
end
return lost
"""

_TAKE = f"""{_LEASED}
local found = {{}}
for i = 2, #KEYS do
  local record = redis.call('HMGET', KEYS[i], 'owner', 'bytes')
  local owner, bytes = record[1], record[2]
  found[i - 1] = 0
  if owner and owner ~= me and owner ~= '' and redis.call('EXISTS', ARGV[3] .. owner) == 1 then
    found[i - 1] = 1
  elseif owner and bytes == '' then
    redis.call('DEL', KEYS[i])
  elseif owner then
    redis.call('HSET', KEYS[i], 'owner', me)
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
    found[i - 1] = {{bytes, owner == '' and 0 or 1}}
  end
end
return found
"""

# A record without an owner and without bytes is none.
_WRITE = f"""{_LEASED}
local lost = {{}}
for i = 2, #KEYS do
  local owner = redis.call('HGET', KEYS[i], 'owner')
  local new, bytes = ARGV[2 * i], ARGV[2 * i + 1]
  if owner and owner ~= me then
    lost[#lost + 1] = i - 2
  elseif new == '' and bytes == '' then
    redis.call('DEL', KEYS[i])
  else
    redis.call('HSET', KEYS[i], 'owner', new, 'bytes', bytes)
    redis.call('PEXPIRE', KEYS[i], new == me and ARGV[2] or ARGV[3])
  end
end
return lost
"""


class RedisStore:
    """Sequences in Redis, each under the run's fingerprint and its own key.

    One store is one worker: it has a random name, and its lease begins here.

    Args:
        url: as `redis://localhost:6379/0`.
        fingerprint: of the run; sequences of another one are never found.
        expiry: seconds after which a sequence that nobody took is forgotten.
        lease: seconds after which this worker counts as gone when it was not heard of.
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
        lease: float = LEASE,
        clock: Callable[[], float] = _now,
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
        if not lease > 0:
            raise OptionError(f"expected a lease above 0 seconds, got {lease}")
        self.expiry = expiry
        self.lease = lease
        self.name = secrets.token_hex(8)
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._prefix = f"throughtime:{fingerprint[:32]}:"
        # A dead worker's copies are there for as long as what was handed on.
        self._owned_for = int((expiry + lease) * 1000)
        self._handed_for = int(expiry * 1000)
        self._clock = clock
        self._again_at = -float("inf")
        # Whether all of this worker's sequences are known to be its own.
        self._held = False
        self._renewed = -float("inf")
        # Of what Redis holds: another one where it lost everything.
        self._contents = b""
        try:
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=_SECONDS,
                socket_connect_timeout=_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            scripts = (_RENEW, _CHECK, _TAKE, _WRITE)
            self._renew, self._check, self._take, self._write = map(
                self._client.register_script, scripts
            )
            # What older ones lack they say here. No sequence has an empty key.
            self.renew(lambda: ())
            self.copy({"": b""})
            self.forget([""])
        except (*self._errors, ValueError, Refusal) as error:
            why = str(error.__cause__ or error)
            raise OptionError(
                "expected the address of a Redis of 6.0 or later, got "
                f"'{plain(_without_password(why, url), longest=200)}'; start one, or mend "
                "--redis"
            ) from None

    @property
    def due(self) -> bool:
        """Whether the lease must be renewed before anything else.

        Well before it is over, as a worker may be paused between this look and its answer.
        """
        return not self._held or self._clock() - self._renewed > self.lease * 2 / 3

    def renew(self, keys: Callable[[], Iterable[str]]) -> set[str] | None:
        """Renew the lease.

        Args:
            keys: gives this worker's sequences, which are looked after where it had lapsed.

        Returns:
            Which of them are this worker's no longer; None where it had not, and all still are.
        """
        began = self._clock()
        arguments: list[Any] = [
            self.name,
            int(self.lease * 1000),
            self._owned_for,
            secrets.token_hex(8),
        ]
        names = [self._lease_of(self.name), f"{self._prefix}contents"]
        lasted, contents = self._asked(partial(self._renew, keys=names, args=arguments))
        lost: set[str] | None = None
        if not (self._held and lasted):
            # What is not there was ended by another worker, unless there was a reason to lose it.
            emptied = contents != self._contents or began - self._renewed > self.expiry / 4
            how = "claim" if emptied else "look"
            lost = set()
            for some in _pieces(list(keys())):
                places = self._leased(self._check, some, [self._owned_for, how])
                lost.update(some[place] for place in places)
        self._held, self._renewed, self._contents = True, began, contents
        return lost

    def take(self, keys: Sequence[str]) -> tuple[dict[str, Taken], set[str]]:
        """Take those sequences that are there; return also those that are another worker's.

        A copy stays until the next one, so that nothing is lost with an answer that does not come.
        """
        self._check_held()
        answers = self._leased(self._take, keys, [self._owned_for, self._lease_of("")])
        found: dict[str, Taken] = {}
        elsewhere = set()
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, list):
                found[key] = Taken(answer[0], bool(answer[1]))
            elif answer:
                elsewhere.add(key)
        return found, elsewhere

    def put(self, states: Mapping[str, bytes], copies: Collection[str] = ()) -> set[str]:
        """Hand sequences on to whoever asks for them; return those that are not this worker's.

        Args:
            states: their bytes.
            copies: those of them that count as copies when they are taken.
        """
        owners = ((_GONE if key in copies else _NOBODY) for key in states)
        return self._written(zip(states, owners, states.values(), strict=True))

    def copy(self, states: Mapping[str, bytes]) -> set[str]:
        """Keep copies of this worker's sequences; return those that are not this worker's.

        Args:
            states: their bytes; of a sequence that has just begun none, in place of older ones.
        """
        return self._written((key, self.name, content) for key, content in states.items())

    def forget(self, keys: Iterable[str]) -> set[str]:
        """Forget sequences that ended; return those that are not this worker's."""
        return self._written((key, _NOBODY, b"") for key in keys)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _lease_of(self, name: str) -> str:
        return f"{self._prefix}worker:{name}"

    def _written(self, records: Iterable[tuple[str, str, bytes]]) -> set[str]:
        """Write records where they are this worker's, or there are none; return the others."""
        self._check_held()
        lost: set[str] = set()
        for some in _small(records):
            keys = [key for key, _, _ in some]
            values = chain.from_iterable((owner, content) for _, owner, content in some)
            arguments = [self._owned_for, self._handed_for, *values]
            lost.update(keys[place] for place in self._leased(self._write, keys, arguments))
        return lost

    def _check_held(self) -> None:
        if not self._held:
            raise unavailable()

    def _leased(self, script: Callable[..., Any], keys: Sequence[str], more: list[Any]) -> Any:
        """Run a script on records, as far as this worker's lease has not lapsed."""
        names = [self._lease_of(self.name), *(f"{self._prefix}sequence:{key}" for key in keys)]
        answer = self._asked(partial(script, keys=names, args=[self.name, *more]))
        if answer is None:
            self._held = False
            raise unavailable()
        return answer

    def _asked(self, ask: Callable[[], _Result]) -> _Result:
        """Ask Redis; after a failure not again for a while, as each attempt holds up all others."""
        began = self._clock()
        if began < self._again_at:
            raise unavailable()
        try:
            return ask()
        except self._errors as error:
            # This may have renewed a lease that had lapsed: the next one must not take it for one
            # that lasted. And what was written may be there or not.
            self._held = False
            now = self._clock()
            # Most of the time is left to the sequences that are open.
            self._again_at = now + max(PAUSE, 5 * (now - began))
            raise unavailable() from error


def unavailable() -> Refusal:
    """Return what is said where Redis does not answer, or this worker's lease has lapsed."""
    return Refusal(
        "store_unavailable",
        "expected to ask Redis for a sequence, got no answer from it; ask again",
    )


def _pieces(keys: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[begin : begin + _KEYS_AT_ONCE]


def _small(records: Iterable[tuple[str, str, bytes]]) -> Iterator[list[tuple[str, str, bytes]]]:
    """Yield records together that are no more than is put at once."""
    some: list[tuple[str, str, bytes]] = []
    size = 0
    for record in records:
        some.append(record)
        size += len(record[0]) + len(record[2])
        if size >= AT_ONCE or len(some) >= _KEYS_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _without_password(text: str, url: str) -> str:
    """Return a message without the address, which may hold a password."""
    return text.replace(url, "REDIS")
