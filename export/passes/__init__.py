"""Graph passes: each takes an ONNX graph and changes one thing about it."""
