"""What lies on a deploy path has no way to execute what it reads."""

import ast
import re
from pathlib import Path

import pytest

import throughtime

PACKAGE = Path(throughtime.__file__).parent
DEPLOYED = (
    *("bundle.py", "bundle_files.py", "files.py", "formats.py", "run.py", "state.py", "model.py"),
    *("runtime", "stream", "serve", "tasks", "data", "check", "layers", "kernels", "export"),
    *("layer_text.py", "recurrent.py", "errors.py"),
)
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
ATTRIBUTES = {
    *(("torch", "load"), ("torch", "jit"), ("torch", "hub"), ("os", "system"), ("os", "popen")),
    *(("numpy", "load"), ("np", "load"), ("numpy", "fromregex"), ("pickle", "loads")),
}
ALLOWED = {
    # What was exported is compiled and run beside the run, before it is called done.
    ("export/c/compiler.py", "subprocess"),
    ("export/c/runner.py", "subprocess"),
    ("export/c/size.py", "subprocess"),
}


def sources():
    for name in DEPLOYED:
        place = PACKAGE / name
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def is_plain_load(node):
    """Whether this is `np.load(path, allow_pickle=False)`, word for word, which takes numbers."""
    return isinstance(node, ast.Call) and re.fullmatch(
        r"np\.load\(\w+, allow_pickle=False\)", ast.unparse(node)
    )


def faults(text, name):
    """What a source does that could execute data."""
    found = []
    tree = ast.parse(text)
    plain = [part for call in ast.walk(tree) if is_plain_load(call) for part in ast.walk(call)]
    for node in ast.walk(tree):
        if node in plain:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        for imported in names:
            top = imported.partition(".")[0]
            if top in MODULES or (top == "subprocess" and (name, top) not in ALLOWED):
                found.append(f"imports {imported}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found += [f"calls {node.func.id}"] if node.func.id in CALLS else []
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            pair = (node.value.id, node.attr)
            found += [f"uses {'.'.join(pair)}"] if pair in ATTRIBUTES else []
        if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            found.append(f"says {node.arg}")
    return found


@pytest.mark.parametrize("file", list(sources()), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_on_the_deploy_path_can_execute_data(file):
    assert not faults(file.read_text(), str(file.relative_to(PACKAGE)))


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "import torch\ntorch.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=bool(pickled))",
        "import numpy as np\nnp.load(eval(text), allow_pickle=False)",
        "value = eval(text)",
        "exec(text)",
        "import os\nos.system(text)",
        "import subprocess",
    ],
)
def test_a_planted_way_is_found(planted):
    assert faults(planted, "stream/loop.py")


def test_the_checkpoint_is_read_without_unpickling_and_nowhere_else():
    """Outside the deploy path: resuming reads with torch's restricted unpickler, and only there."""
    users = [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        if "uses torch.load" in faults(file.read_text(), "")
    ]
    assert users == ["training/checkpoint.py"]
    (call,) = [
        node
        for node in ast.walk(ast.parse((PACKAGE / users[0]).read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func) == "torch.load"
    ]
    said = {word.arg: ast.unparse(word.value) for word in call.keywords}
    assert said["weights_only"] == "True"
