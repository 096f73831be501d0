"""What runs the network: OpenVINO on a CPU, TensorRT on a GPU."""
