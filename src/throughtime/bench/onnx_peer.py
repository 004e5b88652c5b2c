"""One step of a GRU or an LSTM in ONNX Runtime, as a peer: a model of a single node.

Not an exporter: that one knows every layer; this one knows two nodes and nothing else.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from throughtime.bench.measure import Unavailable

Array = NDArray[np.float32]

_NODES = {"gru": "GRU", "lstm": "LSTM"}
_GATES = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""Where ONNX's gates are among torch's: z r n among r z n, i o f g among i f g o."""
_OPSET, _IR = 14, 8


def model(name: str, module: nn.RNNBase) -> Any:
    """Return an ONNX model of one step of one lane: x (1, 1, F) and the state, to the next state.

    Args:
        name: `gru` or `lstm`.
        module: torch.nn's, of one layer and with biases.

    Raises:
        Unavailable: where onnx is not installed.
    """
    onnx = _installed("onnx")
    helper = onnx.helper
    features, units = module.input_size, module.hidden_size
    weights = {
        suffix: _reordered(module, suffix, name).reshape(1, -1, width)
        for suffix, width in (("weight_ih_l0", features), ("weight_hh_l0", units))
    }
    biases = [_reordered(module, suffix, name) for suffix in ("bias_ih_l0", "bias_hh_l0")]
    states = ["h", "c"] if name == "lstm" else ["h"]
    node = helper.make_node(
        _NODES[name],
        inputs=["x", "W", "R", "B", "", *states],
        outputs=["", *(f"{state}_next" for state in states)],
        hidden_size=units,
        **({"linear_before_reset": 1} if name == "gru" else {}),
    )

    def tensor(of: str, last: int) -> Any:
        return helper.make_tensor_value_info(of, onnx.TensorProto.FLOAT, [1, 1, last])

    graph = helper.make_graph(
        [node],
        f"one step of {name}",
        inputs=[tensor("x", features), *(tensor(state, units) for state in states)],
        outputs=[tensor(f"{state}_next", units) for state in states],
        initializer=[
            onnx.numpy_helper.from_array(weights["weight_ih_l0"], "W"),
            onnx.numpy_helper.from_array(weights["weight_hh_l0"], "R"),
            onnx.numpy_helper.from_array(np.concatenate(biases)[None], "B"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def stepper(name: str, module: nn.RNNBase) -> Callable[[Array], Array]:
    """Return x (1, F) to y (1, H), with the state carried on from zeros.

    One thread, which is the quickest for a step this small.

    Raises:
        Unavailable: where onnx or onnxruntime is not installed.
    """
    runtime = _installed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(
        model(name, module).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    zeros = np.zeros((1, 1, module.hidden_size), np.float32)
    fed = {state: zeros for state in (("h", "c") if name == "lstm" else ("h",))}

    def step(x: Array) -> Array:
        fed["x"] = x[None]
        after = session.run(None, fed)
        fed.update(zip(("h", "c"), after, strict=False))
        y: Array = after[0][0]
        return y

    return step


def _reordered(module: nn.RNNBase, parameter: str, name: str) -> Array:
    """Return a parameter with its gates in ONNX's order."""
    rows = getattr(module, parameter).detach().numpy()
    gates = np.split(rows, len(_GATES[name]))
    ordered: Array = np.concatenate([gates[place] for place in _GATES[name]])
    return ordered


def _installed(package: str) -> Any:
    """Return a package of the extra `onnx`, or say that it is not there."""
    try:
        return import_module(package)
    except ImportError:
        raise Unavailable(f"{package} is not installed; pip install 'throughtime[onnx]'") from None
