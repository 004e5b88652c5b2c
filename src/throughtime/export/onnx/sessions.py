"""Graphs that run in ONNX Runtime, on one thread."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from throughtime.errors import OptionError

_ERRORS_ONLY = 3


class Session:
    """A graph that runs.

    Args:
        model: what `Graph.model` or `cut` returned.

    Raises:
        OptionError: ONNX Runtime is not installed, or does not take the graph.
    """

    def __init__(self, model: Any) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            self._session = runtime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _refused(error) from None
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._outputs = [each.name for each in self._session.get_outputs()]

    def run(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name; what the graph has no input for is left aside."""
        fed = {name: each.numpy() for name, each in given.items() if name in self._inputs}
        try:
            made = self._session.run(None, fed)
        except Exception as error:
            raise _refused(error) from None
        tensors = map(torch.from_numpy, made)
        return dict(zip(self._outputs, tensors, strict=True))


def _runtime() -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError:
        raise OptionError(
            "expected onnxruntime to verify an export to ONNX with, got none; "
            "pip install 'throughtime[onnx]'"
        ) from None


def _refused(error: Exception) -> OptionError:
    reason = " ".join(str(error).split())[:300]
    return OptionError(f"expected ONNX Runtime to run the exported graph, got: {reason}")
