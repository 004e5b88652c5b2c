"""What `to_onnx` puts beside the graphs; nothing else of throughtime uses it."""
