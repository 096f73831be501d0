"""The Triton model repository: generated from an exported model, checked, and served."""
