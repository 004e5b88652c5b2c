"""Export to ONNX: graphs of a step and of whole sequences, and a runner without torch."""
