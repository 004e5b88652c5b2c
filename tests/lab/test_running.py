"""How experiments are run, kept and told: knobs, seeds, results, the program."""

import json

import pytest

from throughtime import lab
from throughtime.cli import main
from throughtime.errors import DataError, OptionError
from throughtime.lab import result as results

NAME = "order-matters"
QUICK = {"updates": 3, "length": 6}


@pytest.fixture(scope="module")
def quick():
    (found,) = lab.run([NAME], knobs=QUICK, seeds=(0, 5), jobs=2)
    return found


def test_seeds_keep_their_places_and_are_what_one_alone_is(quick):
    experiment = lab.find(NAME)
    assert quick.seeds == (0, 5)
    assert quick.outcomes[1] == experiment.run(5, **experiment.settings(QUICK))
    assert quick.outcomes[0] != quick.outcomes[1]
    assert quick.seconds > 0


def test_where_knobs_were_turned_nothing_is_said_to_hold(quick):
    assert quick.turned == QUICK
    assert quick.holds is None
    assert quick.verdict == "knobs turned"
    assert quick._replace(knobs=lab.find(NAME).settings({})).holds is False


def test_a_claim_holds_where_figures_are_in_and_controls_out():
    experiment = lab.find(NAME)
    good, bad = lab.Outcome(0.99, 0.5, {}), lab.Outcome(0.5, 0.99, {})
    assert experiment.holds([good, good])
    assert not experiment.holds([good, bad])
    assert not experiment.holds([lab.Outcome(0.99, 0.98, {})])
    assert not experiment.holds([lab.Outcome(0.9, 0.5, {})])
    assert not experiment.holds([lab.Outcome(float("nan"), 0.5, {})])
    assert not experiment.holds([lab.Outcome(0.99, float("nan"), {})])


def test_progress_is_told_of_each_seed():
    seen = []
    list(lab.run([NAME], knobs=QUICK, seeds=(0, 1), show=seen.append))
    assert [(each.done, each.planned) for each in seen] == [(1, 2), (2, 2)]
    assert {each.seed for each in seen} == {0, 1}


def test_knobs_are_of_one_experiment():
    with pytest.raises(OptionError, match="turn updates, length of, got 2"):
        list(lab.run([NAME, "shapes"], knobs=QUICK))


def test_names_and_knobs_that_are_not_there_are_said_with_the_nearest():
    with pytest.raises(OptionError, match=r"got 'order-mater'; did you mean 'order-matters'\?"):
        lab.find("order-mater")
    with pytest.raises(OptionError, match=r"got 'update'; did you mean 'updates'\?"):
        lab.find(NAME).settings({"update": 3})
    for given in ("3.5", "many", 0, 10**6):
        with pytest.raises(OptionError, match=r"expected updates as a whole number, 1 to 3000"):
            lab.find(NAME).settings({"updates": given})


def test_a_knob_with_choices_takes_these_alone():
    knob = lab.Knob("gru", "the layer", choices=("rnn", "gru"))
    assert knob.read("layer", "rnn") == "rnn"
    with pytest.raises(OptionError, match="expected layer among rnn, gru, got 'lstm'"):
        knob.read("layer", "lstm")


def test_results_come_back_from_disk(quick, tmp_path):
    results.write([quick], tmp_path)
    assert results.read(tmp_path) == {NAME: quick}
    assert results.read(tmp_path / "none") == {}


def test_what_is_no_result_is_refused(tmp_path):
    (tmp_path / results.FILE).write_text('{"throughtime": "0.1.0", "experiments": 3}')
    with pytest.raises(DataError, match="expected results of the lab in"):
        results.read(tmp_path)
    (tmp_path / results.FILE).write_text('{"throughtime": "0.0", "experiments": 3}')
    assert results.read(tmp_path) == {}


def test_the_program_lists_runs_keeps_and_goes_on(tmp_path, capsys):
    assert main(["lab", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in lab.names())
    assert main(["lab", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(lab.names())
    turned = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    command = ["lab", "run", NAME, *turned, "--seed", "0", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    (first,) = json.loads(capsys.readouterr().out)
    assert first["knobs"] == lab.find(NAME).settings(QUICK)
    page = (tmp_path / "index.html").read_text()
    assert lab.find(NAME).claim.split(":")[0] in page
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "1 of 1 were run before" in captured.err
    assert json.loads(captured.out) == [first]


def test_the_program_refuses_what_it_can_not_do(capsys):
    for words, said in {
        ("run",): "expected the name of an experiment, or --all",
        ("run", NAME, "--all"): "expected names or --all",
        ("run", NAME, "--set", "updates"): "expected --set KNOB=VALUE, got 'updates'",
        ("run", "order"): "did you mean 'order-matters'?",
    }.items():
        assert main(["lab", *words]) == 2
        assert said in capsys.readouterr().err


def test_a_claim_that_does_not_hold_is_an_exit_code(monkeypatch, capsys, quick):
    failing = quick._replace(knobs=lab.find(NAME).settings({}))
    monkeypatch.setattr(lab, "run", lambda *given, **named: iter([failing]))
    assert main(["lab", "run", NAME]) == 1
    assert "does not hold" in capsys.readouterr().out


def test_what_was_interrupted_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(*given, **named):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(lab, "run", interrupted)
    words = ["lab", "run", NAME, "--set", "updates=3", "--seed", "4"]
    assert main(words) == 130
    assert "nothing was kept; with --out FOLDER it is" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert f"go on with: throughtime {' '.join(words)} --out {tmp_path}" in said


def test_a_file_in_place_of_the_folder_is_refused_before_anything_runs(
    monkeypatch, capsys, tmp_path
):
    path = tmp_path / "file"
    path.write_text("mine")
    monkeypatch.setattr(lab, "run", lambda *given, **named: pytest.fail("it ran"))
    assert main(["lab", "run", NAME, "--out", str(path)]) == 2
    assert (
        f"expected --out FOLDER, new or of the lab, got the file {path}" in capsys.readouterr().err
    )
    assert path.read_text() == "mine"
