"""Signatures of product bundles."""
