"""ONNX files whose weights lie in other files, as other tools write them."""

from __future__ import annotations

from pathlib import Path

from edgekit.contract import contract_path, contract_text, finished, load


def move_out(path: Path, name: str | None = None) -> Path:
    """Moves the weights of an ONNX file into one beside it, which is given back."""
    import onnx

    name = name or f"{path.name}.data"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=name, size_threshold=256)
    return path.with_name(name)


def artifact_with_external_data(path: Path) -> Path:
    """Moves the weights of an export out, and makes the contract that of the two files."""
    contract = load(path)
    beside = move_out(path)
    contract_path(path).write_text(contract_text(finished(contract, [path, beside])))
    return beside


def rename_to(path: Path, name: str) -> None:
    """Makes a file say that its external data lie elsewhere, whatever the name."""
    import onnx

    proto = onnx.load(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    path.write_bytes(proto.SerializeToString())


def varint(value: int) -> bytes:
    """A number in sevens of bits."""
    shown = b""
    while value >= 0x80:
        shown += bytes([value & 0x7F | 0x80])
        value >>= 7
    return shown + bytes([value])
