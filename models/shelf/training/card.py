"""Writes the model card, models/shelf/README.md, from its template and the measured numbers."""

import json
from pathlib import Path
from string import Template
from typing import Any

from models.shelf.training.manifest import DETECTION

TEMPLATE = Path(__file__).with_name("card.md")


def write_card(folder: Path) -> None:
    """Fills the template with `docs/metrics.json` and writes README.md beside it."""
    measured: dict[str, Any] = json.loads((folder / "docs" / "metrics.json").read_text())
    (folder / "README.md").write_text(Template(TEMPLATE.read_text()).substitute(fields(measured)))


def fields(measured: dict[str, Any]) -> dict[str, str]:
    """The template's fields as text."""
    barcodes, times, variants = measured["barcodes"], measured["milliseconds"], measured["variants"]
    reference = times["mobilenet_v3_large_224"]
    return {
        "pictures": f"{measured['pictures']:,}",
        "threshold": f"{measured['threshold']:g}",
        "classes": _classes(measured),
        "variants": _variants(variants),
        "quantized": _quantized(measured["int8"]),
        "quantized_pictures": f"{measured['int8']['pictures']:,}",
        "quantized_read": f"{measured['int8']['barcodes']['read']:,}",
        "quantized_rate": f"{100 * measured['int8']['barcodes']['rate']:.1f}",
        "quantized_megabytes": f"{measured['int8']['bytes'] / 2**20:.1f}",
        "variant_pictures": str(variants["pictures"]),
        "targets": _targets(measured),
        "labels": f"{barcodes['labels']:,}",
        "readable": f"{barcodes['readable']:,}",
        "read": f"{barcodes['read']:,}",
        "rate": f"{100 * barcodes['rate']:.1f}",
        "ms": f"{times['detector']:.1f}",
        "reference_ms": f"{reference:.1f}",
        "ratio": f"{times['detector'] / reference:.1f}",
        "parameters": f"{measured['parameters']:,}",
        "megabytes": f"{measured['bytes'] / 2**20:.1f}",
        "iou": f"{DETECTION['iou_threshold']:g}",
        "steps": f"{measured['trained']['steps']:,}",
        "scenes": f"{measured['trained']['scenes']:,}",
    }


def _classes(measured: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {value['mAP50']:.3f} | {value['mAP50-95']:.3f} |" for name, value in measured["classes"].items()
    ]
    return "\n".join([*rows, f"| **all** | **{measured['mAP50']:.3f}** | **{measured['mAP50-95']:.3f}** |"])


def _variants(variants: dict[str, Any]) -> str:
    return "\n".join(
        f"| {name} | {value['mAP50']:.4f} | {value['mAP50-95']:.4f} |"
        for name, value in variants.items()
        if name != "pictures"
    )


def _quantized(measured: dict[str, Any]) -> str:
    """Eight bits beside fp32, and what they cost."""
    exact, rows = measured["fp32"], [("fp32, onnx", measured["fp32"])]
    rows += [(f"int8, {engine}", measured[engine]) for engine in ("onnx", "openvino") if engine in measured]
    return "\n".join(
        f"| {name} | {value['mAP50']:.4f} ({value['mAP50'] - exact['mAP50']:+.4f}) "
        f"| {value['mAP50-95']:.4f} ({value['mAP50-95'] - exact['mAP50-95']:+.4f}) |"
        for name, value in rows
    )


def _targets(measured: dict[str, Any]) -> str:
    """Aim beside result, in plain words."""
    weakest = min(measured["classes"].items(), key=lambda item: item[1]["mAP50"])
    plain = measured["variants"]["onnx, batch 1"]
    others = [value for name, value in measured["variants"].items() if name != "pictures"]
    apart = max(abs(value[key] - plain[key]) for value in others for key in plain)
    eight = [measured["int8"][engine] for engine in ("onnx", "openvino") if engine in measured["int8"]]
    lost = {key: max(measured["int8"]["fp32"][key] - value[key] for value in eight) for key in ("mAP50", "mAP50-95")}
    rows = [
        ("mAP50", "at least 0.92", f"{measured['mAP50']:.3f}", measured["mAP50"] >= 0.92),
        ("mAP50-95", "at least 0.65", f"{measured['mAP50-95']:.3f}", measured["mAP50-95"] >= 0.65),
        (
            "weakest class, mAP50",
            "at least 0.85",
            f"{weakest[1]['mAP50']:.3f} ({weakest[0]})",
            weakest[1]["mAP50"] >= 0.85,
        ),
        (
            "readable barcodes read end to end",
            "at least 95 %",
            f"{100 * measured['barcodes']['rate']:.1f} %",
            measured["barcodes"]["rate"] >= 0.95,
        ),
        (
            "the same in int8",
            "at least 97 %",
            f"{100 * measured['int8']['barcodes']['rate']:.1f} %",
            measured["int8"]["barcodes"]["rate"] >= 0.97,
        ),
        (
            "milliseconds a picture, one core",
            "at most 25",
            f"{measured['milliseconds']['detector']:.1f}",
            measured["milliseconds"]["detector"] <= 25,
        ),
        (
            "difference by export, batch size, scaled decoding, engine, precision",
            "at most 0.005",
            f"{apart:.4f}",
            apart <= 0.005,
        ),
        ("mAP50 lost in int8", "at most 0.005", f"{lost['mAP50']:.4f}", lost["mAP50"] <= 0.005),
        ("mAP50-95 lost in int8", "at most 0.01", f"{lost['mAP50-95']:.4f}", lost["mAP50-95"] <= 0.01),
    ]
    return "\n".join(f"| {what} | {aim} | {got} | {'yes' if met else '**no**'} |" for what, aim, got, met in rows)
