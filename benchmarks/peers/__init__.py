"""Our way beside the paper's written plainly, and beside anomalib's models, in one run."""
