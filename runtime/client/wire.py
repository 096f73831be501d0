"""Names that the server's models and the client share: tensors, parameters, the ensemble."""

# Inputs; a request has one of the two.
IMAGE = "image"  # (H, W, 3) uint8 RGB
ENCODED = "encoded"  # (1,) bytes of a JPEG, PNG, BMP, TIFF or WebP file

# Request parameters.
PRODUCT = "product"  # text; may be left out where one product alone is active
WANT_MAP = "want_map"  # bool; true if left out
WANT_CARD = "want_card"  # bool; false if left out; the answer is then the card alone

# Between the steps.
ASSIGNMENT = "assignment"  # (1,) int64: which version of which product, by its assignment's number
IMAGE_SIZE = "image_size"  # (2,) int32: height and width in px
STAMPS_NS = "stamps_ns"  # (3,) int64, monotonic clock: arrived, decoded, tiles cut

# Outputs.
SCORE = "score"  # (1,) float32
VERDICT = "verdict"  # (1,) text: "good" or "defective"
REGIONS = "regions"  # (R, 6) float64, columns as below
REGION_COLUMNS = ("x_px", "y_px", "width_px", "height_px", "area_px", "peak")
DETAILS = "details"  # (1,) JSON: product, version, thresholds, mean residual, engine, times; card
ANOMALY_MAP = "anomaly_map"  # (H, W) float32


def printable(request_id: str) -> str:
    """A request's id as the server's log has it: whatever a client sends, it stays in its line."""
    return "".join(char for char in request_id if char.isalnum() or char in "-_.")[:64]
