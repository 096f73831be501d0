"""An exported network run by PyTorch, on a GPU without TensorRT or on a CPU."""
