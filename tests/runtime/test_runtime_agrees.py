"""`runtime.load` and `tt.load` hold each other to account: what one refuses, the other does."""

import copy
import json
import shutil

import pytest
from bundles import sign
from runtime_runs import forecast_run, language_run
from streamed import table

import throughtime as tt
from throughtime.errors import ThroughtimeError
from throughtime.runtime import load
from throughtime.runtime.config import Fields

VALUES = [None, True, "1", 1.0, 0, -1, 2**70, [], {}, ["x"]]
"""What each place of a configuration is set to: of every type, some of them beyond any limit."""


@pytest.fixture(scope="module", params=["quantile", "gaussian", "language"])
def run(request, tmp_path_factory):
    """A run of each kind, and in its file the fields that are mentioned only where used."""
    folder = tmp_path_factory.mktemp("agrees") / "run"
    said = {"learned_initial_state": True, "zoneout": 0.1, "dropout": 0.2, "mask_span": 9}
    said["negative_eigenvalues"] = True
    if request.param == "language":
        return language_run(folder, "gru:4+min_gru:3", embedding_dropout=0.1, **said)
    wide = {"frame": table(covariates=True), "known": ("temperature",), "horizon": 2}
    return forecast_run(folder, "lstm:3+rg_lru:3", head=request.param, **wide, **said)


def places(content, path=()):
    """Every place in a JSON value, as what leads there; of a list its first two items."""
    yield path
    if isinstance(content, dict):
        # What `training` holds is for people, and nobody reads it.
        for name in content if path != ("training",) else ():
            yield from places(content[name], (*path, name))
    elif isinstance(content, list):
        for index in range(min(len(content), 2)):
            yield from places(content[index], (*path, index))


def at(content, path):
    for name in path:
        content = content[name]
    return content


def altered(config):
    """Each configuration that differs from one in a single place, and what was done there."""
    for path in places(config):
        here, name = at(config, path), ".".join(map(str, path))
        if isinstance(here, dict):
            made = copy.deepcopy(config)
            at(made, path)["more"] = 1
            yield f"{name} with a field more", made
        if not path:
            continue
        *before, last = path
        made = copy.deepcopy(config)
        del at(made, before)[last]
        yield f"{name} taken out", made
        for value in VALUES:
            if json.dumps(value) != json.dumps(here):
                made = copy.deepcopy(config)
                at(made, before)[last] = value
                yield f"{name} set to {value!r}", made


def read(loader, folder):
    """What a loader makes of a folder, and its line where it refuses it."""
    try:
        return loader(folder), ""
    except ThroughtimeError as error:
        return None, str(error)


def as_written(run):
    """The configuration that a run would write, as JSON."""
    task = {"name": run.task.name, **run.task.to_json()}
    return json.dumps(run.config.model_dump(mode="json") | {"task": task}, sort_keys=True)


def differences(run, folder, *, every=1, within=""):
    """What one loader takes and the other refuses; of the values that are set, some."""
    shutil.copytree(run.path, folder)
    found, refused, count = [], 0, 0
    cases = altered(json.loads((run.path / "config.json").read_text()))
    for place, (name, config) in enumerate(cases):
        if not name.startswith(within) or ("set to" in name and place % every):
            continue
        (folder / "config.json").write_text(json.dumps(config))
        sign(folder)
        (here, why), (there, why_there) = read(load, folder), read(tt.load, folder)
        count += 1
        refused += here is None
        for line in (why, why_there):
            assert not line or (line.startswith("expected") and line.isprintable()), (name, line)
        # pydantic takes 1.0 for 1, and a task passes over what it does not know: such a file is
        # none that throughtime wrote, as it would write it otherwise, and need not be taken.
        foreign = there is not None and as_written(there) != json.dumps(config, sort_keys=True)
        if (here is None) != (there is None) and not (here is None and foreign):
            found.append((name, why or "taken", why_there or "taken"))
    assert within or (count > 300 / every and count / 2 < refused < count)
    return found


def test_both_loaders_refuse_the_same_configurations(run, tmp_path):
    assert not differences(run, tmp_path / "copy", every=7)


@pytest.mark.slow
def test_both_loaders_refuse_the_same_of_all_configurations(run, tmp_path):
    assert not differences(run, tmp_path / "copy")


def test_what_both_take_is_what_was_written(run):
    content = json.loads((run.path / "config.json").read_text())
    assert as_written(tt.load(run.path)) == json.dumps(content, sort_keys=True)
    assert load(run.path).fingerprint == tt.load(run.path).fingerprint


@pytest.mark.parametrize("file", ["config.json", "manifest.json"])
def test_a_newer_format_is_for_the_throughtime_that_wrote_it(run, file, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(run.path, folder)
    content = json.loads((folder / file).read_text())
    kind = content["format"].split("/")[0]
    content["format"] = f"{kind}/2"
    (folder / file).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n")
    if file == "config.json":
        sign(folder)
    for loader in (load, tt.load):
        _, line = read(loader, folder)
        assert f"format {kind}/1" in line
        assert f"got {kind}/2" in line
        assert "open it with the throughtime that wrote it" in line


SHARE = Fields.share
FAULTS = {
    "model with": ("only", lambda self, names: None),
    "model.dropout": ("share", lambda self, name: 0.2 if name == "dropout" else SHARE(self, name)),
    "model.learned_initial_state": ("truth", lambda self, name: True),
}
"""Where a field is read, and a way of reading it that refuses nothing."""


@pytest.mark.parametrize("place", FAULTS)
def test_a_looser_runtime_is_seen(place, run, tmp_path, monkeypatch):
    monkeypatch.setattr(Fields, *FAULTS[place])
    assert differences(run, tmp_path / "copy", within=place)
