"""Targets: one module per file format, each with a ``TARGET`` that `edgekit.core.Target` describes.

A target knows its format and its runtime and nothing else of edgekit; the registry names it.
"""
