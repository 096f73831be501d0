"""TensorRT engines, and the GPU that they run on."""
