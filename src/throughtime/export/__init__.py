"""From a trained run to what runs elsewhere: C and ONNX, verified before it is done."""

from throughtime.export.c.exporting import to_c
from throughtime.export.exported import Exported
from throughtime.export.gate import MismatchError, Verdict, verify
from throughtime.export.onnx.exporting import to_onnx
from throughtime.export.onnx.layer import layer_to_onnx

__all__ = [
    "Exported",
    "MismatchError",
    "Verdict",
    "layer_to_onnx",
    "to_c",
    "to_onnx",
    "verify",
]
