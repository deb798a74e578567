"""What every engine must do, on real sessions of small generated models."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.engines import catalog
from app.engines.base import Engine, TensorEngine
from app.errors import EngineUnavailable, InvalidManifest
from app.loading import loader
from app.loading.serving import Serving
from app.repository.repository import read_entry
from tests.engines.conftest import Case, need
from tests.fixtures.models import colour_manifest, write_manifest


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 16, 16), np.float32)


def means(batch: np.ndarray) -> np.ndarray:
    return np.asarray(batch.mean(axis=(2, 3)))


def only(outputs: dict[str, np.ndarray]) -> np.ndarray:
    (rows,) = outputs.values()
    return rows


def test_it_describes_its_graph(case: Case, opened: Callable[..., Engine]) -> None:
    engine = opened()
    assert (engine.name, engine.device, engine.precision) == (case.engine, case.device.name, "fp32")
    assert engine.input.name == "image"
    assert engine.input.shape == (None, 3, 16, 16)
    assert engine.input.dtype == np.float32
    assert engine.input.batch_size is None
    assert [spec.shape for spec in engine.outputs] == [(None, 3)]
    assert list(engine.run(pictures(1))) == [spec.name for spec in engine.outputs]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_row_is_its_own_pictures(opened: Callable[..., Engine], count: int) -> None:
    engine = opened(max_batch=8)
    batch = pictures(count)
    rows = only(engine.run(batch))
    assert rows.shape == (count, 3)
    assert np.allclose(rows, means(batch), atol=1e-5)


def test_answers_do_not_change_when_the_next_batch_is_computed(opened: Callable[..., Engine]) -> None:
    engine = opened(max_batch=4)
    first = pictures(4, 1)
    rows = only(engine.run(first))
    engine.run(pictures(4, 2))
    assert np.allclose(rows, means(first), atol=1e-5)


def test_a_lanes_buffer_is_zeroed_memory_of_its_shape(opened: Callable[..., Engine]) -> None:
    engine = opened(max_batch=4)
    buffer = engine.host_buffer((4, 3, 16, 16), np.dtype(np.float32))
    assert (buffer.shape, buffer.dtype, float(np.abs(buffer).max())) == ((4, 3, 16, 16), np.float32, 0.0)
    buffer[:] = pictures(4)
    assert np.allclose(only(engine.run(buffer[:3])), means(buffer[:3]), atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_batch_on_its_device_gives_the_same_rows(case: Case, opened: Callable[..., Engine], count: int) -> None:
    need("torch")
    import torch

    engine = opened(max_batch=8)
    if not isinstance(engine, TensorEngine):
        pytest.skip(f"{engine.name} takes its batches from the host")
    batch = torch.from_numpy(pictures(count)).to(case.torch_device)
    outputs = engine.run_on_device(batch)
    assert list(outputs) == list(engine.run(pictures(1)))
    assert all(isinstance(rows, np.ndarray) for rows in outputs.values())
    rows = only(outputs)
    assert rows.shape == (count, 3)
    engine.run_on_device(torch.zeros_like(batch))
    assert np.allclose(rows, means(pictures(count)), atol=1e-5)


def test_without_graphs_the_answers_are_the_same(opened: Callable[..., Engine]) -> None:
    engine = opened(max_batch=4, graphs=False)
    assert np.allclose(only(engine.run(pictures(3))), means(pictures(3)), atol=1e-5)


def test_warming_up_computes_too(opened: Callable[..., Engine]) -> None:
    engine = opened(max_batch=2, lanes=3)
    batch = pictures(2)
    assert np.allclose(only(engine.warm_up(batch)), means(batch), atol=1e-5)


@pytest.mark.parametrize("lanes", [1, 4])
def test_threads_may_run_it_at_once(opened: Callable[..., Engine], lanes: int) -> None:
    engine = opened(max_batch=4, lanes=lanes)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(30):
            batch = pictures(1 + step % 4, seed * 100 + step)
            if not np.allclose(only(engine.run(batch)), means(batch), atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_wrong_shape_is_an_error_of_that_call_alone(opened: Callable[..., Engine]) -> None:
    engine = opened()
    with pytest.raises(Exception, match=r"(?i)shape|dimension|guard|size"):
        engine.run(np.zeros((1, 4, 16, 16), np.float32))
    assert only(engine.run(pictures(1))).shape == (1, 3)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_lane_may_use_several_cores(opened: Callable[..., Engine], threads: int) -> None:
    engine = opened(threads=threads)
    assert np.allclose(only(engine.run(pictures(1))), means(pictures(1)), atol=1e-5)


def test_every_precision_that_it_offers(case: Case, opened: Callable[..., Engine]) -> None:
    able = catalog.precisions(case.engine, case.device)
    assert able[-1] == "fp32"
    for precision in able:
        engine = opened(precision=precision)
        assert engine.precision == precision
        rows = only(engine.run(pictures(2)))
        assert rows.dtype == np.float32
        assert np.allclose(rows, means(pictures(2)), atol=1e-5 if precision == "fp32" else 1e-2)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09" * 100])
def test_a_file_that_is_no_model(case: Case, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / case.file
    path.write_bytes(content)
    with pytest.raises(InvalidManifest, match=rf"{case.file}.*cannot load") as error:
        case.open(path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("batch", ["batch", 1, 2, 3])
@pytest.mark.parametrize("max_size", [1, 4, 5])
def test_fixed_batch_dimensions_are_served_too(case: Case, tmp_path: Path, batch: int | str, max_size: int) -> None:
    folder = tmp_path / "colour"
    case.save(folder / "1", batch)
    write_manifest(folder, colour_manifest(engine=case.engine, batching={"max_size": max_size}))
    (model,) = loader.load(read_entry(folder), Serving(case.device))
    for count in range(1, max_size + 1):
        rows = model.compute(pictures(count, count))
        assert np.allclose([only(row) for row in rows], means(pictures(count, count)), atol=1e-5)
    model.close()


@pytest.mark.torch
@pytest.mark.parametrize("batch", ["batch", 1, 3])
def test_fixed_batch_dimensions_are_served_on_the_device_too(case: Case, tmp_path: Path, batch: int | str) -> None:
    need("torch")
    import torch

    folder = tmp_path / "colour"
    case.save(folder / "1", batch)
    write_manifest(folder, colour_manifest(engine=case.engine, batching={"max_size": 5}))
    (model,) = loader.load(read_entry(folder), Serving(case.device))
    if not isinstance(model.engine, TensorEngine):
        pytest.skip(f"{model.engine.name} takes its batches from the host")
    for count in range(1, 6):
        rows = model.compute_on_device(torch.from_numpy(pictures(count, count)).to(case.torch_device))
        assert np.allclose([only(row) for row in rows], means(pictures(count, count)), atol=1e-5)
    model.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": {"size": [32, 16]}}, "size and layout give"),
        ({"input": {"size": [16, 16], "layout": "nhwc"}}, "size and layout give"),
        ({"input": {"size": [16, 16], "dtype": "float16"}}, r"input\.dtype: is float16"),
        ({"labels": ["only", "two"]}, "labels"),
    ],
)
def test_a_manifest_that_does_not_fit_its_graph(
    case: Case, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = tmp_path / "colour"
    case.save(folder / "1")
    write_manifest(folder, colour_manifest(engine=case.engine, **changes))
    with pytest.raises(InvalidManifest, match=words):
        loader.load(read_entry(folder), Serving(case.device))


def test_a_precision_that_it_does_not_offer(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "colour"
    case.save(folder / "1")
    write_manifest(folder, colour_manifest(engine=case.engine))
    for precision in {"fp16", "bf16"} - set(catalog.precisions(case.engine, case.device)):
        with pytest.raises(EngineUnavailable, match=f"ROO_PRECISION={precision}: the engine {case.engine} cannot"):
            loader.load(read_entry(folder), Serving(case.device, precision=precision))  # type: ignore[arg-type]
