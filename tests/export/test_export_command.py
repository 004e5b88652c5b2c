"""`throughtime export` is a thin call of `to_c`."""

import json

import pytest
from c_exports import need_compiler

from throughtime.cli import main


def test_the_command_writes_and_says_what(plain, tmp_path, capsys):
    need_compiler()
    out = tmp_path / "c"
    assert main(["export", str(plain.path), "--to", "c", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"model.h, model.c, selftest.c, size.txt in {out}\n")
    assert "verified: largest error" in printed
    assert main(["export", str(plain.path), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["max_error"] < 1e-6
    assert told["path"] == str(out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "fortran"], "expected --to c or onnx, got 'fortran'"),
        (["--out", "FILE"], "expected a folder to export to, got the file"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, plain, tmp_path, capsys):
    (tmp_path / "file").touch()
    given = [str(tmp_path / "file") if word == "FILE" else word for word in arguments]
    assert main(["export", str(plain.path), *given]) == 2
    assert message in capsys.readouterr().err


def test_without_a_compiler_nothing_is_written(plain, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert main(["export", str(plain.path), "--out", str(tmp_path / "c")]) == 2
    assert "expected a C compiler to verify the export with" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_compiler_that_is_named_and_not_there_is_no_other(plain, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CC", "ccc --fast")
    assert main(["export", str(plain.path), "--out", str(tmp_path / "c")]) == 2
    assert "expected a C compiler in the variable CC, got 'ccc'" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ('cc "', "expected a command in the variable CC, got 'cc \"' (No closing quotation)"),
        ("false", "expected false to compile harness.c, got 'exit code 1'"),
    ],
)
def test_a_compiler_that_can_not_be_is_one_line(
    named, message, plain, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("CC", named)
    assert main(["export", str(plain.path), "--out", str(tmp_path / "c")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "c").exists()


def test_each_kind_has_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    written = []

    def write(run, folder, **options):
        written.append(folder.relative_to(run).as_posix())
        return ""

    monkeypatch.setattr("throughtime.export.to_c", write)
    monkeypatch.setattr("throughtime.export.to_onnx", write)
    for more in ([], ["--numbers", "int8"], ["--to", "onnx"]):
        assert main(["export", str(tmp_path), *more]) == 0
    assert written == ["c", "c_int8", "onnx"]
