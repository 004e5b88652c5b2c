"""Every hostile file is refused in one line: nothing executed, little memory, little work."""

import hashlib
import io
import os
import pickle
import re
import resource
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
import torch
from bundles import limit
from hostile import CONTAINERS, PLACES, TRAP, Trap, Victim, parts, victims, whole
from hostile_bundles import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from watching import noting, watch

import throughtime as tt
from throughtime import runtime
from throughtime.cli import main
from throughtime.data.text import Vocabulary
from throughtime.errors import BundleError, DataError, ThroughtimeError
from throughtime.formats import JSON_LIMIT, VALUES_LIMIT, encode_json, parse_json
from throughtime.inspect.report.contents import _scores
from throughtime.lab import result as lab_results
from throughtime.lab.page.learner import Learner
from throughtime.model import SequenceModel
from throughtime.run import RESULTS_FILE, save
from throughtime.tasks import LanguageOptions, LanguageTask
from throughtime.training import checkpoint

KINDS = (
    *("model by torch", "model by runtime", "parity by torch", "parity by runtime"),
    *("stream", "session", "sessions", "state"),
)
SLACK = 2**21
"""Bytes that a refusal may take beside a few times those of the file; see docs/security.md."""
MOST_CALLS = 100_000
"""Function calls that a refusal may take, beside one for each byte of the file."""
JSON_MEMORY = 400 * 2**20
"""Most bytes that JSON takes which is accepted; see docs/security.md."""
TEXT = "the quick brown fox jumps over the lazy dog, and then\nit sleeps.\n" * 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A language run: its bundle has every file that one may have."""
    folder = tmp_path_factory.mktemp("security")
    (folder / "text.txt").write_text(TEXT)
    data = tt.data.read_text(folder / "text.txt")
    task = LanguageTask(LanguageOptions(), Vocabulary.from_documents([TEXT]))
    model = SequenceModel(task.model_config("gru:5", embedding=4))
    figures = {"splits": {"validation": {"nats": 1.0}}, "baselines": {}}
    return save(folder / "run", task, model, data=data, training={}, source="text", figures=figures)


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """The victims, and what their files held; each test puts back what it changed."""
    folder = tmp_path_factory.mktemp("victims")
    found = victims(run, folder)
    meant = {kind: victim.read() for kind, victim in found.items()}
    bytes_of = {victim.path: victim.path.read_bytes() for victim in found.values()}
    return found, bytes_of, meant


@pytest.fixture
def victim(request, files):
    found, bytes_of, _ = files
    chosen: Victim = found[request.param]
    yield chosen
    content = bytes_of[chosen.path]
    if chosen.path.is_dir() and not chosen.path.is_symlink():
        chosen.path.rmdir()
    elif os.path.lexists(chosen.path):
        chosen.path.unlink()
    chosen.write(content)


def refusal(call):
    """What a call is refused with: one line of ours, and nothing behind it."""
    with pytest.raises(ThroughtimeError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable(), "one line, fit for a terminal"
    assert message.startswith("expected")
    assert "got" in message
    assert len(message) < 1500
    assert not TRAP.exists()
    return message


def watched_refusal(call, size):
    """As `refusal`, with everything that is done on the way counted."""
    caught = []

    def swallow():
        try:
            call()
        except ThroughtimeError as error:
            caught.append(error)

    seen = watch(swallow)
    assert caught, "not refused"
    assert not seen.done
    assert seen.peak < 3 * size + SLACK
    assert seen.calls < MOST_CALLS + size

    def again():
        raise caught[0]

    return refusal(again)


def test_the_trap_and_the_watching_work(tmp_path):
    with noting() as done:
        pickle.loads(pickle.dumps(Trap()))
    assert TRAP.is_dir()
    TRAP.rmdir()
    assert {event.split()[0] for event in done} >= {"pickle.find_class", "os.mkdir"}
    with noting() as done:
        (tmp_path / "written").write_text("x")
        subprocess.run(["true"], check=True)
        eval("1 + 1")
    assert {event.split()[0] for event in done} >= {"open", "subprocess.Popen", "compile", "exec"}
    seen = watch(lambda: [bytes(2**22), [ord("a") for _ in range(500)]])
    assert seen.peak > 2**22
    assert seen.calls > 500
    assert not watch(lambda: (tmp_path / "written").read_text()).done


def test_every_kind_of_file_is_attacked(files):
    assert set(files[0]) == set(KINDS)


@pytest.mark.parametrize("victim", [kind for kind in KINDS if "parity" not in kind], indirect=True)
@pytest.mark.parametrize("attack", CONTAINERS)
def test_a_hostile_container_is_refused(victim, attack):
    content = CONTAINERS[attack](victim.path.read_bytes())
    victim.write(content)
    watched_refusal(victim.read, len(content))


@pytest.mark.parametrize("victim", KINDS, indirect=True)
@pytest.mark.parametrize("attack", PLACES)
def test_a_hostile_place_is_refused(victim, attack, files):
    if victim.path.name == "session":
        pytest.skip("a session comes as bytes, from no place")
    PLACES[attack](victim.path)
    watched_refusal(victim.read, sum(map(len, files[1].values())))


@pytest.mark.parametrize("victim", KINDS, indirect=True)
def test_what_is_claimed_is_never_allocated(victim):
    """With room for a sixth of what some of these claim, each is refused as it was."""
    content = victim.path.read_bytes()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limit(resource.RLIMIT_AS, pages * resource.getpagesize() + 2**28):
        for name, attack in CONTAINERS.items():
            if name == "one tensor more" and victim.path.name == "parity.safetensors":
                continue  # which is no fault in a record of parity
            victim.write(attack(content))
            with pytest.raises(ThroughtimeError):
                victim.read()


def test_a_file_of_another_model_or_format_is_refused(files):
    found, bytes_of, _ = files
    for kind in ("stream", "session", "sessions", "state"):
        victim = found[kind]
        content = bytes_of[victim.path]
        named, data = parts(content)
        for field, value, said in (
            ("fingerprint", "0" * 64, "of model"),
            ("fingerprint", "\x1b[2J\n" * 999, "of model"),
            ("format", "throughtime.state/9", "expected"),
            ("format", "\x1b[2J\n" * 999, "expected"),
            ("sha256", "0" * 64, "altered"),
        ):
            if field not in named["__metadata__"]:
                continue
            metadata = {**named["__metadata__"], field: value}
            victim.write(whole({**named, "__metadata__": metadata}, data))
            assert said in watched_refusal(victim.read, len(content) + 99_999)
        for other in ("stream", "session", "sessions", "state"):
            if other != kind:
                victim.write(bytes_of[found[other].path])
                watched_refusal(victim.read, len(bytes_of[found[other].path]))
        victim.write(content)
        victim.read()


@pytest.mark.parametrize(("damage", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_bundle_is_refused_with_torch_and_without(run, tmp_path, damage, message):
    folder = tmp_path / "run"
    for read in (tt.load, runtime.load):
        shutil.copytree(run.path, folder)
        damage(folder)
        told = watched_refusal(lambda read=read: read(folder), 2 * JSON_LIMIT)
        assert re.search(message, told)
        shutil.rmtree(folder)


def read_or_refuse(victim):
    """What a file means, or the error that it is refused with; whatever else is raised goes on."""
    try:
        return victim.read(), None
    except ThroughtimeError as error:
        return None, str(error)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_damage_is_refused_or_means_nothing(kind, files, data):
    """Bytes are flipped and files are cut; by who can sign bundles, or by nobody."""
    victim = files[0][kind]
    content, meant = files[1][victim.path], files[2][kind]
    changed = bytearray(content)
    header_size = 8 + int.from_bytes(content[:8], "little")
    # Most of the checks are of the header.
    places = st.integers(0, header_size - 1) | st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=3)):
        changed[place] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        changed = changed[: data.draw(st.integers(0, len(changed)))]
    signed = data.draw(st.booleans())
    if signed:
        victim.write(bytes(changed))
    else:
        victim.path.write_bytes(bytes(changed))
    try:
        got, told = read_or_refuse(victim)
    finally:
        victim.write(content)
    if told is not None:
        assert told.isprintable()
        assert len(told) < 1500
    else:
        # A signed bundle is another model where other weights are what was signed.
        assert got == meant or (signed and bytes(changed[8:]) != content[8:])


def test_damage_that_nobody_signed_is_always_refused_or_means_nothing(files):
    """Each seventh byte of each small file, one after the other."""
    found, bytes_of, meant_by = files
    for kind in ("stream", "session"):
        victim = found[kind]
        content, meant = bytes_of[victim.path], meant_by[kind]
        for place in range(0, len(content), 7):
            changed = bytearray(content)
            changed[place] ^= 0x11
            victim.write(bytes(changed))
            got, told = read_or_refuse(victim)
            assert got == meant or told.isprintable()
        victim.write(content)


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["[]", "1.5", '{"k":1}', '"\\u4e2d\\u6587"'])
def test_json_that_is_accepted_takes_little_memory(inside):
    each = sum(map(inside.count, ",[{")) + 1
    count = (VALUES_LIMIT - 2) // each
    content = ('{"a":[' + ",".join([inside] * count) + "]}").encode()
    assert len(content) <= JSON_LIMIT
    assert peak_of(content) < JSON_MEMORY


def peak_of(content):
    """Most bytes that Python takes to read JSON."""
    tracemalloc.start()
    try:
        parse_json(content, source="it")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_json_of_many_keys_takes_little_memory():
    content = ("{" + ",".join(f'"{k:x}":0' for k in range(VALUES_LIMIT - 2)) + "}").encode()
    assert len(content) <= JSON_LIMIT
    assert peak_of(content) < JSON_MEMORY


def test_json_of_too_many_values_is_refused_in_both_directions():
    fits = [0] * (VALUES_LIMIT - 1)
    assert parse_json(encode_json({"a": fits}, source="it"), source="it") == {"a": fits}
    with pytest.raises(BundleError, match="expected at most 1,048,576 values in it"):
        encode_json({"a": [*fits, 0, 0]}, source="it")
    content = b'{"a":[' + b"0," * VALUES_LIMIT + b"0]}"
    assert watched_refusal(lambda: parse_json(content, source="it"), 0)


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    """Resuming is no deploying, and yet nothing in a checkpoint is executed."""
    path = tmp_path / checkpoint.FOLDER / checkpoint.FILE
    path.parent.mkdir()

    def signed(body):
        return f"{checkpoint.FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode() + body

    buffer = io.BytesIO()
    torch.save(Trap(), buffer)
    for content in (b"", b"\n", pickle.dumps(Trap()), signed(b""), signed(pickle.dumps(Trap()))):
        path.write_bytes(content)
        refusal(lambda: checkpoint.load(tmp_path))
    path.write_bytes(signed(buffer.getvalue()))
    refusal(lambda: checkpoint.load(tmp_path))
    for attack in PLACES.values():
        path.unlink(missing_ok=True)
        path.touch()
        attack(path)
        refusal(lambda: checkpoint.load(tmp_path))
        if path.is_dir() and not path.is_symlink():
            path.rmdir()


NOTES = {
    "deep": b'{"splits":' + b"[" * 99_999,
    "values": b'{"a":[' + b"[]," * VALUES_LIMIT + b"[]]}",
    "list": b"[]",
    "NaN": b'{"splits": NaN}',
    "bytes": b"\xff\xfe",
    "pickle": pickle.dumps(Trap()),
}


@pytest.mark.parametrize("name", NOTES)
def test_figures_that_nobody_vouches_for_are_passed_over(run, tmp_path, name):
    """Beside a bundle lie figures for people; a report is made without those that are none."""
    results = run.path / RESULTS_FILE
    kept = results.read_bytes()
    results.write_bytes(NOTES[name])
    try:
        assert _scores(run) == {}
    finally:
        results.write_bytes(kept)
    assert _scores(run)
    (tmp_path / lab_results.FILE).write_bytes(NOTES[name])
    with pytest.raises(DataError, match="expected results of the lab"):
        lab_results.read(tmp_path)
    (tmp_path / "learner").write_bytes(NOTES[name])
    assert Learner.read(tmp_path / "learner").predicted == {}
    assert not TRAP.exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("stream", ("stream", "RUN", "--load", "FILE")),
        ("model by torch", ("stream", "RUN")),
        ("model by torch", ("generate", "RUN")),
        ("parity by torch", ("check", "RUN")),
    ],
)
@pytest.mark.parametrize("attack", ["overlap", "header deep", "a pickle", "huge shape"])
def test_a_command_refuses_it_in_one_line(run, files, capfd, monkeypatch, kind, words, attack):
    victim = files[0][kind]
    content = files[1][victim.path]
    victim.write(CONTAINERS[attack](content))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    typed = [{"RUN": str(run.path), "FILE": str(victim.path)}.get(word, word) for word in words]
    try:
        code = main(typed)
    finally:
        victim.write(content)
    out, told = capfd.readouterr()
    assert code in (1, 2)
    assert "Traceback" not in told + out
    if words[0] != "check":
        assert len(told.splitlines()) == 1
        assert told.startswith("throughtime: error: expected")
    assert not TRAP.exists()
