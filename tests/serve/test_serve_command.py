"""`throughtime serve` as it is typed: help without weight, and mistakes in one line."""

import os
import socket
import subprocess
import sys

import pytest
from servers import SECONDS, SOURCES, Process, process, row, step

import throughtime as tt
from throughtime.cli import main
from throughtime.cli.failures import CAN_BE_MENDED, WRONG_USE

HEAVY = ("torch", "numpy", "fastapi", "starlette", "uvicorn", "prometheus_client", "redis")

IN_ONE_PROCESS = f"""
import sys
from throughtime.cli import main
assert main(["serve", "--help"]) == 0
heavy = [name for name in {HEAVY} if name in sys.modules]
assert not heavy, heavy
"""


def said(capsys):
    _, err = capsys.readouterr()
    [line] = [line for line in err.splitlines() if line.startswith("throughtime: error:")]
    assert err.splitlines()[-1] == line
    return line


def test_help_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_ONE_PROCESS],
        env=os.environ | {"PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    for option in ("--json", "--snapshot", "--redis", "--token-file", "--max-delay"):
        assert option in done.stdout


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--port", "99999"], WRONG_USE, "--port"),
        (["--slots", "0"], WRONG_USE, "--slots"),
        (["--max-delay", "-1"], WRONG_USE, "--max-delay"),
        (["--snapshot", "none/kept"], WRONG_USE, "expected a folder to keep none/kept in"),
        (["--snapshot", "."], WRONG_USE, "got the folder ."),
        (["--token-file", "none"], WRONG_USE, "expected a token in none"),
        (["--redis", "redis://127.0.0.1:1"], WRONG_USE, "expected the address of a Redis"),
        (["--host", "256.0.0.1"], WRONG_USE, "expected an address to listen at"),
    ],
)
def test_a_mistake_is_one_line(run, tmp_path, monkeypatch, capsys, options, code, says):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", str(run.path), *options]) == code
    assert says in said(capsys)


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == CAN_BE_MENDED
    assert "got" in said(capsys)


def test_without_its_packages_it_says_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setattr("throughtime.serve.access.find_spec", lambda name: None)
    assert main(["serve", str(run.path)]) == WRONG_USE
    assert "pip install 'throughtime[serve]'" in said(capsys)


def test_too_little_room_for_a_snapshot_is_one_line(run, tmp_path, capsys):
    sessions = tt.Sessions(run, slots=3)
    for key in "abc":
        sessions.open(key)
    sessions.snapshot(tmp_path / "kept")
    arguments = ["serve", str(run.path), "--slots", "2", "--snapshot", str(tmp_path / "kept")]
    assert main(arguments) == CAN_BE_MENDED
    assert "more" in said(capsys)


def test_a_snapshot_of_another_run_is_one_line(run, other_run, tmp_path, capsys):
    sessions = tt.Sessions(other_run, slots=1)
    sessions.open("a")
    sessions.snapshot(tmp_path / "kept")
    assert main(["serve", str(run.path), "--snapshot", str(tmp_path / "kept")]) == CAN_BE_MENDED
    assert "expected sessions of model" in said(capsys)


def test_a_port_that_is_taken_is_one_line(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run.path), "--port", str(port)]) == WRONG_USE
    assert f"expected an address to listen at, got 127.0.0.1:{port}" in said(capsys)


def test_it_says_where_it_is_and_asks_for_its_token(run, tmp_path):
    (tmp_path / "token").write_text("a-token-of-the-tests")
    with process(run, "--token-file", tmp_path / "token", "--max-body", 2000) as server:
        assert server.begun == {
            "address": server.address,
            "run": str(run.path),
            "restored": 0,
        }
        assert server.address.startswith("http://127.0.0.1:")
        assert server.step(step("a", row(0), start=True))[0] == 401
        with server.client(headers={"Authorization": "Bearer a-token-of-the-tests"}) as client:
            asked = {"steps": [step("a", row(0), start=True)]}
            assert client.post("/v1/step", json=asked).status_code == 200
            large = client.post(
                "/v1/step",
                content=b" " * 2001,
                headers={"Content-Type": "application/json"},
            )
            assert large.status_code == 413
        code, err = server.end()
    assert (code, err) == (0, "")


def test_a_disk_that_is_full_at_the_end_is_one_line(run, tmp_path):
    """What was kept before is still there."""
    kept = tmp_path / "folder" / "kept"
    kept.parent.mkdir()
    server = Process(run, "--snapshot", kept)
    server.step(step("a", row(0), start=True))
    kept.parent.rmdir()
    code, err = server.end()
    assert code == CAN_BE_MENDED
    assert err.splitlines()[-1].startswith("throughtime: error: expected to write a snapshot")


@pytest.mark.slow
def test_what_it_describes_survives_being_fuzzed(run, tmp_path):
    """Schemathesis finds no answer that is not described, and no server error."""
    pytest.importorskip("schemathesis", reason="needs schemathesis")
    with process(run) as server:
        server.step(step("0", row(0), start=True))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"{server.address}/openapi.json",
                # What a row must have is said by the run, not by the schema.
                *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
                *("--max-examples", "30", "--seed", "1", "--no-color"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=600,
        )
        with server.client() as client:
            metrics = client.get("/metrics").text
        code, err = server.end()
    assert done.returncode == 0, done.stdout[-5000:]
    assert 'code="defect"' not in metrics
    assert (code, err) == (0, "")
