"""What a running server counts."""

import tritonclient.grpc as grpc

from triton_repo.server.server import TritonServer


def engine_statistics(server: TritonServer) -> tuple[int, int]:
    """Tiles that the engine ran so far, and in how many runs."""
    with grpc.InferenceServerClient(server.grpc_address) as raw:
        (engine,) = raw.get_inference_statistics("engine").model_stats
        return engine.inference_count, engine.execution_count
