"""Measuring: latency, memory and energy of artifacts, and comparisons of two."""
