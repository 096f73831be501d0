"""From a product bundle to one fused ONNX file with its manifest."""
