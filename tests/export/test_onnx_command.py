"""`throughtime export --to onnx` is a thin call of `to_onnx`."""

import json

import pytest

from throughtime.cli import main

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_the_command_writes_and_says_what(plain, tmp_path, capfd):
    out = tmp_path / "onnx"
    assert main(["export", str(plain.path), "--to", "onnx", "--out", str(out)]) == 0
    printed = capfd.readouterr()
    files = "step.onnx, sequence.onnx, runner.py, runner_graphs.py, runner_rows.py"
    assert printed.out.startswith(f"{files} in {out}\n")
    assert "verified: largest error" in printed.out
    assert printed.err == ""
    assert main(["export", str(plain.path), "--to", "onnx", "--out", str(out), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["max_error"] < 1e-5
    assert told["steps"] > 100_000
    assert told["size"]["files"]["step.onnx"] == (out / "step.onnx").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "FILE"], "expected a folder to export to, got the file"),
        (["--numbers", "int8"], "expected --numbers and --calibrate with --to c alone"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, plain, tmp_path, capfd):
    (tmp_path / "file").touch()
    given = [str(tmp_path / "file") if word == "FILE" else word for word in arguments]
    assert main(["export", str(plain.path), "--to", "onnx", *given]) == 2
    printed = capfd.readouterr().err
    assert message in " ".join(printed.split())


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_one_line(package, plain, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    out = tmp_path / "onnx"
    assert main(["export", str(plain.path), "--to", "onnx", "--out", str(out)]) == 2
    printed = " ".join(capfd.readouterr().err.split())
    assert f"expected {package} " in printed
    assert "pip install 'throughtime[onnx]'" in printed
    assert not out.exists()
