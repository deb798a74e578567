"""Eight bits are chosen where the machine has the instructions and the answers agree, and never else."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.commands import quantization
from app.engines import catalog
from app.engines.base import Engine, EngineName, EngineOptions
from app.host import cpu
from app.loading import loader
from app.loading.serving import PrecisionChoice, Serving
from app.repository.repository import read_entry
from tests.engines.conftest import CPU, need
from tests.fixtures.models import add_convolutions_model, save_convolutions
from tests.fixtures.pictures import solid

SHELF = Path(__file__).resolve().parents[2] / "models" / "shelf"


def choose(folder: Path, engine: EngineName = "onnx") -> PrecisionChoice:
    serving = loader.with_precision(read_entry(folder), Serving(CPU, engine=engine))
    return next(iter(serving.precisions.values()))


@pytest.fixture
def vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it has the instructions."""
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx512_vnni\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")


@pytest.fixture
def plain_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor of before: AVX2 alone."""
    (tmp_path / "cpuinfo").write_text("flags : avx2\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")


@pytest.fixture
def quantized(tmp_path: Path) -> Path:
    """A model with an int8 file and no pictures yet."""
    folder = add_convolutions_model(tmp_path / "models")
    random = np.random.default_rng(1)
    rows = [random.random((1, 3, 32, 32), np.float32) for _ in range(4)]
    quantization.quantize(folder / "1" / "model.onnx", folder / "1" / "model.int8.onnx", rows)
    return add_convolutions_model(tmp_path / "models", precisions=["fp32", "int8"])


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files are opened and closed, as it happens."""
    told: list[str] = []
    really = catalog.open_engine

    def open_engine(name: EngineName, path: Path, options: EngineOptions) -> Engine:
        engine = really(name, path, options)
        really_close = engine.close

        def close() -> None:
            told.append(f"close {path.name}")
            really_close()

        told.append(f"open {path.name}")
        monkeypatch.setattr(engine, "close", close)
        return engine

    monkeypatch.setattr(catalog, "open_engine", open_engine)
    return told


TRIAL = ["open model.int8.onnx", "close model.int8.onnx", "open model.onnx", "close model.onnx"]
"""Never both beside each other: others that are served need the memory."""


def add_examples(folder: Path) -> None:
    (folder / "examples").mkdir()
    for number, colour in enumerate([(250, 10, 10), (10, 250, 10), (10, 10, 250), (90, 90, 90)]):
        (folder / "examples" / f"{number}.png").write_bytes(solid(colour))


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_the_bundled_model_is_computed_in_integers_where_the_processor_can(engine: EngineName) -> None:
    need(engine)
    choice = choose(SHELF, engine)
    if cpu.integer_instructions() is None:
        assert choice.precision != "int8"
        assert "this processor has no instructions" in choice.reason
    else:
        assert choice.precision == "int8", choice.reason
        assert "answers to 4 example pictures are those of fp32" in choice.reason
        assert "58 of 64 layers in integers" in choice.reason


@pytest.mark.usefixtures("plain_processor")
def test_a_processor_without_the_instructions_gives_the_answers_of_fp32(caplog: pytest.LogCaptureFixture) -> None:
    entry = read_entry(SHELF)
    with caplog.at_level(logging.INFO):
        (model,) = loader.load(entry, Serving(CPU))
    assert model.engine.precision == "fp32"
    assert model.precision_reason.startswith("not int8: this processor has no instructions for it")
    assert "shelf is not computed in int8: this processor has no instructions" in caplog.text
    (exact,) = loader.load(entry, Serving(CPU, precision="fp32"))
    row = np.random.default_rng(0).random((1, 3, 320, 512), np.float32)
    for name, values in exact.compute(row)[0].items():
        assert np.array_equal(values, model.compute(row)[0][name])


def test_an_engine_that_is_kept_from_the_instructions_is_found_out_by_its_answers() -> None:
    """The kernel's flags say nothing of this switch; the sums saturate, and the examples' answers show it."""
    need("openvino")
    program = (
        "from tests.loading.test_precision import SHELF, choose\n"
        "print(choose(SHELF, 'openvino').precision, choose(SHELF, 'openvino').reason)"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    precision, _, reason = done.stdout.partition(" ")
    assert precision in ("fp32", "bf16")
    assert reason.startswith("not int8: ")


@pytest.mark.usefixtures("plain_processor")
def test_int8_that_was_asked_for_is_computed_anyway_and_said(quantized: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        (model,) = loader.load(read_entry(quantized), Serving(CPU, precision="int8"))
    assert (model.engine.precision, model.precision_reason) == ("int8", "ROO_PRECISION=int8")
    assert "convolutions computes in int8, for which this processor has no instructions" in caplog.text


@pytest.mark.usefixtures("vnni")
def test_without_pictures_there_is_nothing_to_compare_on(quantized: Path) -> None:
    choice = choose(quantized)
    assert choice.precision == "fp32"
    assert "no pictures in the model's folder `examples`" in choice.reason


@pytest.mark.usefixtures("vnni")
def test_other_answers_than_those_of_fp32_are_not_given(quantized: Path) -> None:
    add_examples(quantized)
    path = quantized / "1" / "model.int8.onnx"
    model = onnx.load(path)
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "kernel_2")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[[1, 2, 0]], "kernel_2"))
    onnx.save(model, path)
    choice = choose(quantized)
    assert choice.precision == "fp32"
    assert choice.reason.startswith("not int8: only")
    assert "answers to 4 example pictures are those of fp32" in choice.reason


@pytest.mark.usefixtures("vnni")
def test_a_file_that_is_not_computed_in_integers_is_not_taken(quantized: Path) -> None:
    add_examples(quantized)
    save_convolutions(quantized / "1" / "model.int8.onnx")
    assert choose(quantized).reason == "not int8: only 0 of 3 layers would be computed in integers"


@pytest.mark.usefixtures("vnni")
def test_a_file_that_does_not_load_costs_no_start(quantized: Path) -> None:
    add_examples(quantized)
    (quantized / "1" / "model.int8.onnx").write_bytes(b"torn")
    choice = choose(quantized)
    assert choice.precision == "fp32"
    assert "it could not be tried" in choice.reason


@pytest.mark.usefixtures("vnni")
def test_an_example_that_is_no_picture_costs_no_start(quantized: Path) -> None:
    (quantized / "examples").mkdir()
    (quantized / "examples" / "torn.jpg").write_bytes(b"no picture")
    choice = choose(quantized)
    assert choice.precision == "fp32"
    assert "it could not be tried" in choice.reason


@pytest.mark.usefixtures("vnni")
def test_what_was_tried_is_not_tried_again_until_something_else_lies_there(quantized: Path, events: list[str]) -> None:
    add_examples(quantized)
    entry = read_entry(quantized)
    serving = loader.with_precision(entry, Serving(CPU))
    assert events == TRIAL
    found = serving.precisions["convolutions", "1"]
    assert loader.with_precision(entry, serving).precisions["convolutions", "1"] == found
    shutil.copytree(quantized / "1", quantized / "2")
    serving = loader.with_precision(read_entry(quantized), serving)
    assert serving.precisions["convolutions", "2"] == found
    assert events == TRIAL
    (quantized / "examples" / "0.png").write_bytes(solid((1, 2, 3)))
    loader.with_precision(read_entry(quantized), serving)
    assert events == 2 * TRIAL
    model = onnx.load(quantized / "2" / "model.onnx")
    model.doc_string = "another file"
    onnx.save(model, quantized / "2" / "model.onnx")
    loader.with_precision(read_entry(quantized), serving)
    assert events == 3 * TRIAL


@pytest.mark.usefixtures("vnni")
def test_what_could_not_be_tried_is_tried_again(quantized: Path, events: list[str]) -> None:
    (quantized / "examples").mkdir()
    (quantized / "examples" / "torn.jpg").write_bytes(b"no picture")
    entry = read_entry(quantized)
    serving = loader.with_precision(entry, Serving(CPU))
    assert events == TRIAL[:2]
    loader.with_precision(entry, serving)
    assert events == 2 * TRIAL[:2]
