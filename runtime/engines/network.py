"""Names of the exported network: its files, its inputs and its output."""

# One file a precision; a CPU runs the first, a TensorRT engine is built from the second.
ONNX_NAMES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx"}
ONNX_NAME = ONNX_NAMES["fp32"]

# (N, height, width, 3) uint8, channels last: cameras, decoders and the tiler deliver bytes in this
# order, so no CPU has to transpose an image; inside the graph the transposition melts into the
# first layer.
INPUT_NAME = "tiles"
# (N,) int32, the slot of each tile's product in the bank of students.
SLOT_NAME = "product"
# (N, rows, columns) float32, one value a patch: the product of the two directions' distances.
OUTPUT_NAME = "patch_map"
