"""Whatever is done to sessions, in any order, each is as a stream of its own."""

from datetime import datetime, timedelta

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from session_checks import agree

from throughtime.errors import BundleError, DataError, OptionError
from throughtime.stream import Sessions, Stream
from throughtime.stream.slab import Slab

KEYS = ["key 0", "key 1", "new", "other", "fork"]
SLOTS, IDLE = 3, 10.0


class AsStreams(RuleBasedStateMachine):
    """Whatever is done to sessions, each is as a stream of its own to which the same was done."""

    run = folder = None

    @initialize()
    def begin(self):
        self.now = 0.0
        self.gone = []
        self.sessions = self.make(Sessions)
        # By key, in the order of use: a stream, the series it was named after, when it was used.
        self.streams, self.pending, self.exported = {}, {}, []
        self.hour = 0

    def make(self, maker, *arguments):
        def leaving(key, content):
            self.gone.append(key)
            self.exported.append((content, *self.streams[key][:2]))

        return maker(
            self.run, *arguments, slots=SLOTS, idle=IDLE, leaving=leaving, clock=lambda: self.now
        )

    def use(self, key, stream=None, series=None):
        before = self.streams.pop(key, None)
        self.streams[key] = (stream or before[0], series or before[1], self.now)

    def make_room(self, stay=()):
        """What should go before a session begins; None if none may."""
        if len(self.streams) < SLOTS:
            return []
        may_go = [key for key in self.streams if key not in self.pending and key not in stay]
        return may_go[:1] or None

    def expect_idle_gone(self):
        return [
            key
            for key, (_, _, used) in self.streams.items()
            if used < self.now - IDLE and key not in self.pending
        ]

    def check_gone(self, expected):
        assert self.gone == expected
        for key in expected:
            del self.streams[key]
        self.gone.clear()

    def settle_idle(self):
        expected = self.expect_idle_gone()
        assert list(self.sessions.expire()) == expected
        self.check_gone(expected)

    def beginning(self, key, call, stay=(), **named):
        """Begin a session, which may make another one go, or be refused."""
        self.settle_idle()
        goes = self.make_room(stay)
        if key in self.streams or goes is None:
            with pytest.raises(OptionError):
                call()
            assert self.gone == []
            return
        call()
        self.check_gone(goes)
        self.use(key, **named)

    def copied(self, stream):
        """A stream that goes on from where another one is."""
        other = Stream(self.run)
        other._lanes = dict(stream._lanes)
        return other

    @rule(key=st.sampled_from(KEYS))
    def open(self, key):
        self.beginning(key, lambda: self.sessions.open(key), stream=Stream(self.run), series=key)

    @rule(
        key=st.sampled_from(KEYS),
        hours=st.sampled_from([0, 1, 1, 1, 2, 4, 9]),
        y=st.sampled_from([1.0, -2.5, 40.0, None, "NA", "x"]),
    )
    def push(self, key, hours, y):
        self.settle_idle()
        self.hour += hours
        row = {"ds": (datetime(2024, 3, 1) + timedelta(hours=self.hour)).isoformat(), "y": y}
        new = key not in self.streams
        goes = self.make_room() if new else []
        if key in self.pending or (goes is None and y != "x"):
            with pytest.raises(OptionError):
                self.sessions.push(key, row)
        elif y == "x":
            with pytest.raises(DataError):
                self.sessions.push(key, row)
        else:
            self.sessions.push(key, row)
            self.check_gone(goes)
            self.use(key, *([Stream(self.run), key] if new else []))
            self.pending[key] = row

    @rule()
    def tick(self):
        self.settle_idle()
        answers = self.sessions.tick()
        assert list(answers) == list(self.pending)
        for key, row in self.pending.items():
            stream, series, _ = self.streams[key]
            expected = stream.push({**row, "unique_id": series})
            assert agree(answers[key], {**expected, "unique_id": key})
            self.use(key)
        self.pending.clear()

    @rule(y=st.sampled_from([3.0, -8.0]))
    def row_for_all(self, y):
        for key in tuple(self.streams):
            if key not in self.pending:
                self.push(key, 0, y)
        self.hour += 1
        self.tick()

    @rule(key=st.sampled_from(KEYS))
    def close(self, key):
        if key not in self.streams:
            with pytest.raises(OptionError):
                self.sessions.close(key)
            return
        self.sessions.close(key)
        del self.streams[key]
        self.pending.pop(key, None)

    @rule(key=st.sampled_from(KEYS), new=st.sampled_from(KEYS), any_open=st.booleans())
    def fork(self, key, new, any_open):
        self.settle_idle()
        if any_open and self.streams:
            key = list(self.streams)[-1]
        if key not in self.streams:
            with pytest.raises(OptionError):
                self.sessions.fork(key, new)
            return
        stream, series, _ = self.streams[key]
        made = self.copied(stream)
        call = lambda: self.sessions.fork(key, new)  # noqa: E731
        self.beginning(new, call, stay={key}, stream=made, series=series)

    @rule(key=st.sampled_from(KEYS))
    def export(self, key):
        if key not in self.streams:
            with pytest.raises(OptionError):
                self.sessions.export(key)
            return
        stream, series, _ = self.streams[key]
        self.exported.append((self.sessions.export(key), self.copied(stream), series))

    @precondition(lambda self: self.exported)
    @rule(key=st.sampled_from(KEYS), which=st.integers(0, 9))
    def load(self, key, which):
        content, stream, series = self.exported[which % len(self.exported)]
        call = lambda: self.sessions.load(key, content)  # noqa: E731
        self.beginning(key, call, stream=self.copied(stream), series=series)

    @rule(seconds=st.sampled_from([1.0, 4.0, 11.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def restart(self):
        path = self.folder / "snapshot"
        if self.pending:
            with pytest.raises(OptionError, match="tick first"):
                self.sessions.snapshot(path)
            return
        self.sessions.snapshot(path)
        self.sessions = self.make(Sessions.restore, path)

    @invariant()
    def the_same_are_there(self):
        assert self.sessions.keys == tuple(self.streams)
        assert self.sessions.pending == tuple(self.pending)
        assert len(self.sessions) == len(self.streams) <= SLOTS


def test_whatever_is_done_each_session_is_a_stream_of_its_own(run, tmp_path):
    AsStreams.run, AsStreams.folder = run, tmp_path
    run_state_machine_as_test(AsStreams, settings=settings(max_examples=25, stateful_step_count=40))


def nothing(self, *arguments):
    """What a forgotten line would do."""


@pytest.mark.parametrize(
    ("owner", "forgotten"), [(Slab, "copy"), (Slab, "begin"), (Sessions, "_put")]
)
def test_sessions_that_forget_something_are_found_out(run, tmp_path, monkeypatch, owner, forgotten):
    AsStreams.run, AsStreams.folder = run, tmp_path
    once = settings(
        max_examples=60,
        stateful_step_count=40,
        phases=[Phase.generate],
        print_blob=False,
        database=None,
    )
    monkeypatch.setattr(owner, forgotten, nothing)
    with pytest.raises((AssertionError, BundleError)):
        run_state_machine_as_test(AsStreams, settings=once)
