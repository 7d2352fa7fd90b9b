"""What users of other tools mean by a name that edgekit does not have."""

from __future__ import annotations

import re

# Words of Ultralytics, TensorFlow's converter, optimum, Olive, OpenVINO's and TFLite's tools.
COMMANDS = {
    "bench": "benchmark",
    "benchmark_app": "profile",
    "benchmark_model": "profile",
    "check": "verify",
    "checks": "doctor",
    "classify": "predict",
    "convert": "export",
    "detect": "predict",
    "eval": "evaluate",
    "fit": "train",
    "gradcam": "explain",
    "grad_cam": "explain",
    "heatmap": "explain",
    "saliency": "explain",
    "infer": "predict",
    "inference": "predict",
    "info": "describe",
    "latency": "profile",
    "models": "list models",
    "netadapt": "search",
    "onnx": "export --target onnx",
    "openvino": "export --target openvino",
    "optimize": "export --tune",
    "ovc": "export --target openvino",
    "perf": "profile",
    "prune": "search",
    "ptq": "export --precision int8",
    "quantize": "export --precision int8",
    "run": "predict",
    "summary": "describe",
    "targets": "list targets",
    "test": "evaluate",
    "tflite": "export --target tflite",
    "tune": "export --tune",
    "val": "evaluate",
    "validate": "evaluate",
    "version": "--version",
}
"""Commands of other tools, and what stands behind ``edgekit`` for them."""

OPTIONS = {
    "--batch": ("--batch-size",),
    "--bs": ("--batch-size",),
    "--calib-data": ("--calibration",),
    "--calibration-dataset": ("--calibration",),
    "--data-path": ("--data",),
    "--dataset": ("--data",),
    "--destination": ("--out",),
    "--force": ("--overwrite",),
    "--format": ("--target",),
    "--fp16": ("--precision fp16",),
    "--framework": ("--target",),
    "--half": ("--precision fp16",),
    "--image-size": ("--resolution",),
    "--img": ("--resolution",),
    "--img-size": ("--resolution",),
    "--imgsz": ("--resolution",),
    "--input-size": ("--resolution",),
    "--int8": ("--precision int8",),
    "--learning-rate": ("--lr",),
    "--lr0": ("--lr",),
    "--nstreams": ("--threads",),
    "--nthreads": ("--threads",),
    "--num-threads": ("--threads",),
    "--optim": ("--optimizer",),
    "--outdir": ("--out",),
    "--output": ("--out",),
    "--output-dir": ("--out",),
    "--output-path": ("--out",),
    "--project": ("--out",),
    "--provider": ("--device",),
    "--quantize": ("--precision int8",),
    "--save-dir": ("--out",),
    "--state-dict": ("--weights",),
    "--to": ("--target",),
    "--warmup": ("--warmup-epochs",),
}
"""Options of other tools, and edgekit's, of which the first that a command has is meant."""

_NAMES = {
    "target": {
        "edgetpu": "tflite",
        "ir": "openvino",
        "lite": "tflite",
        "litert": "tflite",
        "onnxruntime": "onnx",
        "ort": "onnx",
        "ov": "openvino",
        "tensorflow": "tflite",
        "tf": "tflite",
    },
    "precision": {
        "bf16": "fp16",
        "dynamic": "int8",
        "float": "fp32",
        "float16": "fp16",
        "float32": "fp32",
        "full": "fp32",
        "half": "fp16",
        "i8": "int8",
        "ptq": "int8",
        "qat": "int8",
        "uint8": "int8",
        "w8a8": "int8",
    },
}

# Networks that torchvision and timm have, by the beginnings of their names.
_LIBRARY = re.compile(
    r"^(tv[-_])?(alexnet|convnext|deit|densenet|fasterrcnn|fcn|googlenet|ghostnet|inception|"
    r"maxvit|mobileone|mobilevit|regnet|repvgg|resnet|resnext|squeezenet|swin|vgg|vit|"
    r"wide_resnet|xception)",
    re.IGNORECASE,
)

_YOLO = re.compile(r"^yolo", re.IGNORECASE)


def name_meant(kind: str, name: str) -> str | None:
    """The name that edgekit has for one of another tool's.

    Args:
        kind: what was asked for, such as ``target``.
    """
    return _NAMES.get(kind, {}).get(name.lower())


def advice(kind: str, name: str) -> str | None:
    """How to get what edgekit itself does not have, as part of a sentence."""
    if kind != "model":
        return None
    if _LIBRARY.match(name):
        own = name.lower().replace("-", "_")
        return f"torchvision's and timm's are 'torchvision:{own}' and 'timm:{own}'"
    if _YOLO.match(name):
        return "a network in PyTorch is 'package.module:callable'"
    return None
