"""Inspecting by a Triton server."""
