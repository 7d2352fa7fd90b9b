"""How ``edgekit export`` chooses among files of integers: by accuracy, and by measuring."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine


def test_the_ladder_stops_at_the_first_rung_that_holds(
    run: CommandLine, short_network: Path
) -> None:
    words = ("export", short_network, "-t", "tflite", "-p", "int8", "--max-drop", 50, "-o", "out")
    result = run(*words, "--json")
    assert result.code == 0
    (entry,) = result.json["artifacts"]
    (rung,) = entry["ladder"]
    assert (rung["name"], rung["passed"]) == ("int8, minmax", True)
    assert rung["size_bytes"] == entry["size_bytes"] or rung["size_bytes"] > 0
    assert rung["latency_ms"] > 0


def test_a_ladder_whose_last_rung_breaks_ends_with_a_rejected_file(
    run: CommandLine, short_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.quantize import ladder

    # No rung is as good as a float network that is always right and still better.
    monkeypatch.setattr(
        ladder, "held_out", lambda *_, **__: ladder.HeldOut(*_judge(), headline=1.5)
    )
    monkeypatch.setattr(ladder, "LATENCY_SECONDS", 0.3)
    words = ("export", short_network, "-t", "tflite", "-p", "int8", "--max-drop", 0.5, "-o", "out")
    result = run(*words, "--qat-epochs", 1, "--calibration-images", 32, "--json")
    assert result.code == 4
    assert "ways loses at most 0.5 points of top-1 on 'digits', validation" in result.message
    (entry,) = result.json["rejected"]
    names = [rung["name"] for rung in entry["ladder"]]
    assert names[:2] == ["int8, minmax", "percentile ranges"]
    assert {"2 layers in float", "4 layers in float", "8 layers in float", "w8a16"} <= set(names)
    assert not any(rung["passed"] for rung in entry["ladder"])
    (report,) = (tmp_path / "out").glob("*.rejected.json")
    assert "points of top-1" in json.loads(report.read_text())["reason"]


def test_a_network_trained_for_integers_is_published_as_such(
    run: CommandLine, short_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.quantize import ladder

    def score(_: ladder.HeldOut, built: ladder.Built, target: object) -> float:
        return 1.0 if built.artifact.scheme.trained_epochs else 0.0

    monkeypatch.setattr(ladder.HeldOut, "score", score)
    monkeypatch.setattr(ladder, "LATENCY_SECONDS", 0.3)
    monkeypatch.setattr(ladder, "FLOAT_LAYERS", ())
    words = ("export", short_network, "-t", "tflite", "-p", "int8", "--max-drop", 0.5, "-o", "out")
    result = run(*words, "--qat-epochs", 1, "--calibration-images", 32, "--json")
    assert result.code == 0, result.err
    (entry,) = result.json["artifacts"]
    assert entry["ladder"][-1]["name"] == "quantization-aware training"
    assert entry["ladder"][-1]["passed"]
    contract = json.loads((tmp_path / entry["contract"]).read_text())
    assert contract["scheme"]["trained_epochs"] == 1
    verified = run("verify", entry["path"], "--against", short_network)
    assert verified.code == 0
    assert "was made from other weights" in verified.err


def _judge() -> tuple[object, str]:
    from edgekit.data import open_source

    return open_source("digits"), "validation"


def test_accuracy_is_judged_on_the_data_of_the_training(
    run: CommandLine, short_network: Path, image_folder: Callable[..., Path]
) -> None:
    source = image_folder("photos", "a", "b", count=50)
    result = run(
        "export", short_network, "-t", "tflite", "-p", "int8", "--calibration", source,
        "--max-drop", 90, "-o", "out",
    )  # fmt: skip
    assert result.code in (0, 4), result.err
    assert "is none of the" not in result.err


def test_tuning_records_what_it_measured(
    run: CommandLine, short_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.quantize import tuning

    monkeypatch.setattr(tuning, "SECONDS", 0.5)
    words = ("export", short_network, "-t", "tflite", "-p", "int8", "--tune", "-o", "out")
    result = run(*words, "--calibration-images", 32, "--json")
    assert result.code == 0, result.err
    (entry,) = result.json["artifacts"]
    first, *others = entry["tuning"]
    assert (first["verdict"], first["forms"]["hardswish"]) == ("first", "clamp")
    assert {"faster", "slower", "indistinguishable"} >= {
        one["verdict"] for one in others if one["precision"] == "int8"
    }
    assert others[-1]["precision"] == "fp32"
    assert others[-1]["verdict"] in ("faster", "slower", "indistinguishable")
    assert ("fp32 is faster than int8" in result.err) == (others[-1]["verdict"] == "faster")
    contract = json.loads((tmp_path / entry["contract"]).read_text())
    assert contract["tuning"] == entry["tuning"]
    assert not list((tmp_path / "out").glob("*.tuning.json"))


def test_an_interrupted_tuning_goes_on_where_it_was(
    run: CommandLine, short_network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.devices.device import Device
    from edgekit.errors import UnavailableError
    from edgekit.quantize import tuning

    measured: list[tuple[str, str]] = []

    def gone(one: tuning.Built, other: tuning.Built, _: Device) -> tuple[float, float, float]:
        measured.append((one.content_sha256, other.content_sha256))
        if len(measured) == 2:
            raise UnavailableError("the device is gone")
        return 1.1, 1.05, 1.15

    monkeypatch.setattr(tuning, "_measured", gone)
    words = ("export", short_network, "-t", "tflite", "-p", "int8", "--tune", "-o", "out")
    result = run(*words, "--calibration-images", 32)
    assert result.code == 5
    assert "the device is gone" in result.message
    assert "run the same command again" in result.message
    (journal,) = (tmp_path / "out").glob("*.tuning.json")
    assert len(json.loads(journal.read_text())["ratios"]) == 1
    result = run(*words, "--calibration-images", 32)
    assert result.code == 0, result.err
    assert measured.count(measured[0]) == 1
    assert measured.count(measured[1]) == 2
    assert not journal.exists()
