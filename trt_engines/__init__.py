"""TensorRT engines: building them, proving their precision, compiling without a GPU."""
