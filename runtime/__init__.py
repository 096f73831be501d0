"""Inspecting images: what runs on the line, without torch and without the other rooms."""
