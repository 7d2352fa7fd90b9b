"""Damage to OpenVINO's graphs of XML and their weights."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

Root = ElementTree.Element
NUMBERS = ("0", "-1", "2147483647", "9223372036854775807", "-9223372036854775808", "1048576",
           "99999999999999999999", "text", "")  # fmt: skip


def changing(
    change: Callable[[Root, random.Random], None],
) -> Callable[[Path, random.Random], None]:
    def damage(path: Path, rng: random.Random) -> None:
        tree = ElementTree.parse(path)
        change(tree.getroot(), rng)
        tree.write(path, encoding="utf-8", xml_declaration=True)

    damage.__name__ = change.__name__
    return damage


def sizes(root: Root, rng: random.Random) -> None:
    for dim in rng.sample(list(root.iter("dim")), rng.choice((1, 5))):
        dim.text = rng.choice(NUMBERS)


def data(root: Root, rng: random.Random) -> None:
    having = [e for e in root.iter("data") if e.attrib]
    for element in rng.sample(having, rng.choice((1, 4))):
        key = rng.choice(list(element.attrib))
        numbers = element.attrib[key].split(",")
        numbers[rng.randrange(len(numbers))] = rng.choice(NUMBERS)
        element.set(key, ",".join(numbers))


def constants(root: Root, rng: random.Random) -> None:
    layers = [e.find("data") for e in root.iter("layer") if e.get("type") == "Const"]
    for element in rng.sample(layers, rng.choice((1, 3))):
        assert element is not None
        element.set(rng.choice(("offset", "size", "shape", "element_type")), rng.choice(
            (*NUMBERS, "1,1,1,1", "65536,65536,64", "u1", "string", "f64")
        ))  # fmt: skip


def edges(root: Root, rng: random.Random) -> None:
    found = root.find("edges")
    assert found is not None
    for edge in rng.sample(list(found), rng.choice((1, 4))):
        what = rng.randrange(4)
        if what == 0:
            found.remove(edge)
        elif what == 1:
            edge.set("to-layer", edge.get("from-layer", "0"))
        elif what == 2:
            edge.set(rng.choice(list(edge.attrib)), rng.choice((*NUMBERS, "5", "40")))
        else:
            from_, to = edge.get("from-layer", ""), edge.get("to-layer", "")
            edge.set("from-layer", to)
            edge.set("to-layer", from_)


def layers(root: Root, rng: random.Random) -> None:
    found = root.find("layers")
    assert found is not None
    layer = rng.choice(list(found))
    what = rng.randrange(5)
    if what == 0:
        found.remove(layer)
    elif what == 1:
        layer.set(
            "type", rng.choice(("Nothing", "Loop", "TensorIterator", "If", "ReadValue", "NMS"))
        )
    elif what == 2:
        layer.set("id", rng.choice(("0", "5", "-1", "99999999999999999999")))
    elif what == 3:
        layer.set("version", rng.choice(("opset1", "opset99", "")))
    else:
        found.append(layer)


def ports(root: Root, rng: random.Random) -> None:
    for port in rng.sample(list(root.iter("port")), rng.choice((1, 3))):
        if rng.random() < 0.5:
            port.set("precision", rng.choice(("FP64", "U1", "STRING", "I64", "?")))
        else:
            port.set("id", rng.choice(NUMBERS))


def input_shape(root: Root, rng: random.Random) -> None:
    for layer in root.iter("layer"):
        element = layer.find("data")
        if layer.get("type") == "Parameter" and element is not None:
            side = rng.choice((*NUMBERS, "100000", "?", "1..9", "8192"))
            element.set("shape", rng.choice((f"1,3,{side},{side}", f"{side},3,32,32", side, "")))


def notes(root: Root, rng: random.Random) -> None:
    value = rng.choice(("[" * 100_000, "{}", '{"image": 3}', "null", "1e999", "\uffff"))
    found = root.find("rt_info")
    if found is None:
        found = ElementTree.SubElement(root, "rt_info")
    own = found.find("edgekit")
    if own is None:
        own = ElementTree.SubElement(found, "edgekit")
    for name in ("contract", "quantization"):
        if rng.random() < 0.7:
            for old in own.findall(name):
                own.remove(old)
            ElementTree.SubElement(own, name, value=value)


def bomb(path: Path, rng: random.Random) -> None:
    """Entities that stand for each other."""
    levels = rng.choice((5, 9, 30))
    entities = ['<!ENTITY e0 "oooooooooo">'] + [
        f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, levels)
    ]
    text = re.sub(r"<\?xml[^>]*\?>", "", path.read_text(encoding="utf-8"))
    name = rng.choice(('name="main"', "version="))
    if name not in text:
        name = "<layers>"
    grown = text.replace("<layers>", f"<layers><x>&e{levels - 1};</x>", 1)
    path.write_text(f"<?xml version='1.0'?><!DOCTYPE net [{''.join(entities)}]>{grown}")


def outside_entity(path: Path, rng: random.Random) -> None:
    """An entity that is the text of another file, or does not end."""
    place = rng.choice(("/dev/zero", "/etc/passwd", "http://127.0.0.1:9/x"))
    text = re.sub(r"<\?xml[^>]*\?>", "", path.read_text(encoding="utf-8"))
    grown = text.replace("<layers>", "<layers><x>&e;</x>", 1)
    path.write_text(f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e SYSTEM "{place}">]>{grown}')


def deep(path: Path, rng: random.Random) -> None:
    depth = rng.choice((1000, 100_000, 1_000_000))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("<layers>", "<layers>" + "<a>" * depth + "</a>" * depth, 1))


def weights(path: Path, rng: random.Random) -> None:
    beside = path.with_suffix(".bin")
    values = np.frombuffer(beside.read_bytes()[: beside.stat().st_size // 4 * 4], np.float32).copy()
    for _ in range(rng.choice((1, 50))):
        start = rng.randrange(len(values))
        values[start : start + rng.choice((1, 1000))] = rng.choice((np.nan, np.inf, 3e38))
    beside.write_bytes(values.tobytes())


def companion(path: Path, rng: random.Random) -> None:
    """The weights of another file."""
    beside = path.with_suffix(".bin")
    others = sorted(p for p in path.parent.parent.rglob("*.bin") if p.name != beside.name)
    content = rng.choice(others).read_bytes() if others else rng.randbytes(1000)
    beside.write_bytes(content)


def huge_fill(path: Path, rng: random.Random) -> None:
    """A broadcast of one number to any size."""
    fill(path, rng.choice(("30000,30000", "100000,100000,10", "2147483647", "16384,16384,8")))


def fill(path: Path, size: str) -> None:
    """A broadcast of one number to a size."""
    text = path.read_text(encoding="utf-8")
    rank = size.count(",") + 1
    beside = path.with_suffix(".bin")
    content = bytearray(beside.read_bytes())
    content += bytes(-len(content) % 8)
    start = len(content)
    content += np.array([int(n) for n in size.split(",")], np.int64).tobytes()
    one = len(content)
    content += np.ones(1, np.float32).tobytes()
    beside.write_bytes(content)
    dims = "".join(f"<dim>{n}</dim>" for n in size.split(","))
    port = '<port id="{}" precision="{}">{}</port>'
    added = (
        f'<layer id="90001" name="h1" type="Const" version="opset1"><data element_type="i64" '
        f'shape="{rank}" offset="{start}" size="{8 * rank}"/><output>'
        f"{port.format(0, 'I64', f'<dim>{rank}</dim>')}</output></layer>"
        f'<layer id="90002" name="h2" type="Const" version="opset1"><data element_type="f32" '
        f'shape="1" offset="{one}" size="4"/><output>{port.format(0, "FP32", "<dim>1</dim>")}'
        f"</output></layer>"
        f'<layer id="90003" name="h3" type="Broadcast" version="opset3"><data mode="numpy"/>'
        f"<input>{port.format(0, 'FP32', '<dim>1</dim>')}"
        f"{port.format(1, 'I64', f'<dim>{rank}</dim>')}</input><output>"
        f"{port.format(2, 'FP32', dims)}</output></layer>"
        f'<layer id="90004" name="h4" type="Result" version="opset1"><input>'
        f"{port.format(0, 'FP32', dims)}</input></layer>"
    )
    joined = (
        '<edge from-layer="90002" from-port="0" to-layer="90003" to-port="0"/>'
        '<edge from-layer="90001" from-port="0" to-layer="90003" to-port="1"/>'
        '<edge from-layer="90003" from-port="2" to-layer="90004" to-port="0"/>'
    )
    text = text.replace("</layers>", added + "</layers>", 1)
    path.write_text(text.replace("</edges>", joined + "</edges>", 1))


KINDS = {
    **{
        f.__name__: changing(f)
        for f in (sizes, data, constants, edges, layers, ports, input_shape, notes)
    },
    **{f.__name__: f for f in (bomb, outside_entity, deep, weights, companion, huge_fill)},
}
