"""Names of files, and whether they are sent to devices."""

from __future__ import annotations

NAMES = {
    "net.onnx": True,
    "größe 1.tflite": True,
    "a.part": True,
    "x" * 120: True,
    ".hidden.onnx": False,
    ".lock": False,
    'a"b.onnx': False,
    "con.onnx": False,
    "net.onnx ": False,
    " net.onnx": False,
    "net.": False,
    "a\nb": False,
    "a\x7fb": False,
    "a\\b": False,
    "a:b": False,
    "x" * 121: False,
    "ö" * 61: False,
}
