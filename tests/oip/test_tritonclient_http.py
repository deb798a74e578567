"""NVIDIA's own client, as it comes from PyPI, asks a real service over HTTP."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from tests.fixtures.models import IDENTITIES
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server
from tests.fixtures.tensors import extremes

ORANGE, BLUE = (255, 128, 0), (0, 0, 255)


@pytest.fixture
def client(protocol_server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{protocol_server.port}") as client:
        yield client


def pictures(*colours: tuple[int, int, int], kind: str = "PNG") -> Any:
    return tensor("image", "BYTES", np.array([solid(colour, kind=kind) for colour in colours], object))


def tensor(name: str, datatype: str, content: NDArray[Any], *, binary: bool = True) -> Any:
    return triton.InferInput(name, list(content.shape), datatype).set_data_from_numpy(content, binary_data=binary)


def test_what_the_server_says_of_itself(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colour")
    assert client.is_model_ready("colour", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("colour", "9")
    described = client.get_server_metadata()
    assert described["name"] == "roo-vision"
    assert {"binary_tensor_data", "classification"} <= set(described["extensions"])


def test_metadata_lists_both_ways_and_says_which_is_which(client: triton.InferenceServerClient) -> None:
    described = client.get_model_metadata("box")
    ways = [(each["name"], each["datatype"], each["shape"], each["parameters"]["way"]) for each in described["inputs"]]
    assert ways == [("image", "BYTES", [-1], "pictures"), ("image", "FP32", [-1, 3, 16, 16], "tensors")]
    outputs = {(each["name"], each["parameters"]["way"]): each for each in described["outputs"]}
    assert outputs["boxes", "pictures"]["shape"] == [-1, -1, 4]
    assert outputs["boxes", "tensors"]["shape"] == [-1, 1, 4]
    assert client.get_model_metadata("colour", "1")["versions"] == ["1", "2"]
    (own,) = client.get_model_metadata("identity_bytes")["inputs"]
    assert (own["name"], own["datatype"], own["shape"]) == ("x", "BYTES", [-1, 3])


def test_the_configuration_tells_sizes_without_the_batch(client: triton.InferenceServerClient) -> None:
    found = client.get_model_config("colour")
    assert found["max_batch_size"] == 4
    assert found["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, 16, 16], "optional": False}]
    assert client.get_model_config("identity_bytes")["input"][0]["data_type"] == "TYPE_STRING"


def test_the_repository_index_lists_versions(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert {"name": "colour", "version": "1", "state": "READY", "reason": ""} in index
    assert len(index) == 8 + len(IDENTITIES)


def test_statistics_count_what_was_asked(client: triton.InferenceServerClient) -> None:
    def success() -> int:
        (found,) = client.get_inference_statistics("colour", "1")["model_stats"]
        assert found["inference_count"] >= found["execution_count"]
        count: int = found["inference_stats"]["success"]["count"]
        assert found["inference_stats"]["queue"]["count"] == found["inference_stats"]["compute_input"]["count"] == count
        return count

    before = success()
    client.infer("colour", [pictures(ORANGE, BLUE)], model_version="1")
    client.infer("colour", [tensor("image", "FP32", np.zeros((3, 3, 16, 16), np.float32))], model_version="1")
    assert success() == before + 5
    assert len(client.get_inference_statistics()["model_stats"]) == 8 + len(IDENTITIES)
    assert [each["version"] for each in client.get_inference_statistics("colour")["model_stats"]] == ["1", "2"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_give_probabilities(client: triton.InferenceServerClient, kind: str) -> None:
    result = client.infer("colour", [pictures(ORANGE, BLUE, kind=kind)], request_id="orange")
    assert (result.get_response()["id"], result.get_response()["model_version"]) == ("orange", "2")
    found = result.as_numpy("probabilities")
    np.testing.assert_allclose(found, np.array([ORANGE, BLUE]) / 255, atol=0.02)


def test_a_manifests_threshold_leaves_the_probabilities_whole(client: triton.InferenceServerClient) -> None:
    found = client.infer("strict", [pictures(ORANGE)]).as_numpy("probabilities")
    np.testing.assert_allclose(found, [[1, 0.5, 0]], atol=0.01)


def test_pictures_give_boxes_with_as_many_places_as_are_needed(client: triton.InferenceServerClient) -> None:
    result = client.infer("box", [pictures(ORANGE, (10, 10, 10), BLUE)])
    assert result.as_numpy("count").tolist() == [1, 0, 1]
    assert result.as_numpy("labels").tolist() == [[b"red"], [b""], [b"blue"]]
    np.testing.assert_allclose(result.as_numpy("boxes")[2], [[16, 12, 48, 36]], atol=0.01)
    assert result.as_numpy("scores").tolist() == [[1.0], [0.0], [1.0]]
    assert result.as_numpy("class_ids").dtype == np.int64
    assert result.as_numpy("texts").shape == (3, 1)


def test_pictures_give_maps(client: triton.InferenceServerClient) -> None:
    result = client.infer("parts", [pictures(ORANGE, BLUE)])
    assert result.as_numpy("map_size").tolist() == [[12, 16], [12, 16]]
    assert (result.as_numpy("class_map")[1, :12, :16] == 2).all()
    assert result.as_numpy("labels")[1].tolist() == [b"blue"]
    np.testing.assert_allclose(result.as_numpy("map_box")[0], [0, 0, 64, 48], atol=0.01)


def test_pictures_give_vectors(client: triton.InferenceServerClient) -> None:
    found = client.infer("vector", [pictures(ORANGE, BLUE)], parameters={"normalize": False}).as_numpy("embedding")
    np.testing.assert_allclose(found, np.array([ORANGE, BLUE]) / 255, atol=0.02)
    lengths = np.linalg.norm(client.infer("vector", [pictures(ORANGE, BLUE)]).as_numpy("embedding"), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)
    none = client.infer("vector", [tensor("image", "BYTES", np.empty(0, object))])
    assert none.as_numpy("embedding").shape == (0, 0)
    with pytest.raises(InferenceServerException, match="an embedding is FP32"):
        client.infer("vector", [pictures(ORANGE)], parameters={"embedding_format": "float16"})


def test_pictures_give_numbers_of_every_place(client: triton.InferenceServerClient) -> None:
    result = client.infer("maps", [pictures(ORANGE, BLUE)])
    assert result.as_numpy("map_size").tolist() == [[12, 16], [12, 16]]
    found = result.as_numpy("maps")
    assert found.shape == (2, 3, 12, 16)
    np.testing.assert_allclose(found.mean(axis=(2, 3)), np.array([ORANGE, BLUE]) / 255, atol=0.02)
    np.testing.assert_allclose(result.as_numpy("map_box")[0], [0, 0, 64, 48], atol=0.01)


def test_a_column_of_pictures_and_none_at_all(client: triton.InferenceServerClient) -> None:
    column = tensor("image", "BYTES", np.array([[solid(ORANGE)], [solid(BLUE)]], object))
    assert client.infer("colour", [column]).as_numpy("probabilities").shape == (2, 3)
    none = tensor("image", "BYTES", np.empty(0, object))
    result = client.infer("box", [none])
    assert result.as_numpy("boxes").shape == (0, 0, 4)
    assert result.as_numpy("count").shape == (0,)


def test_options_are_parameters(client: triton.InferenceServerClient) -> None:
    options = {"score_threshold": 0.9}
    image = pictures((200, 0, 0))
    assert client.infer("box", [image]).as_numpy("count").tolist() == [1]
    assert client.infer("box", [image], parameters=options).as_numpy("count").tolist() == [0]
    # 0 and 1 are interactive, more is bulk; the time is long enough for any machine.
    client.infer("box", [image], priority=5, timeout=60_000_000)


@pytest.mark.parametrize("datatype", IDENTITIES)
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_every_datatype_comes_back_as_it_went(
    client: triton.InferenceServerClient, datatype: str, compression: str | None
) -> None:
    sent = extremes(datatype)
    packed = {"request_compression_algorithm": compression, "response_compression_algorithm": compression}
    result = client.infer(f"identity_{datatype.lower()}", [tensor("x", datatype, sent)], **packed)
    found = result.as_numpy("y")
    assert found.dtype == sent.dtype
    np.testing.assert_array_equal(found, sent)


@pytest.mark.parametrize("datatype", IDENTITIES)
def test_every_datatype_comes_back_in_json(client: triton.InferenceServerClient, datatype: str) -> None:
    sent = extremes(datatype)
    wanted = [triton.InferRequestedOutput("y", binary_data=False)]
    result = client.infer(f"identity_{datatype.lower()}", [tensor("x", datatype, sent, binary=False)], outputs=wanted)
    (output,) = result.get_response()["outputs"]
    text = [each.decode() for each in sent.reshape(-1)] if datatype == "BYTES" else sent.reshape(-1).tolist()
    assert output["data"] == text


@pytest.mark.parametrize("datatype", IDENTITIES)
def test_no_rows_come_back_as_none(client: triton.InferenceServerClient, datatype: str) -> None:
    result = client.infer(f"identity_{datatype.lower()}", [tensor("x", datatype, extremes(datatype)[:0])])
    assert result.as_numpy("y").shape == (0, 3)


def test_64_rows_are_answered_in_their_order(client: triton.InferenceServerClient) -> None:
    sent = np.random.default_rng(0).random((64, 3, 16, 16), np.float32)
    found = client.infer("colour", [tensor("image", "FP32", sent)]).as_numpy("scores")
    np.testing.assert_allclose(found, sent.mean((2, 3)), atol=1e-5)


def test_a_graph_without_a_batch_dimension_gets_one_for_its_callers(client: triton.InferenceServerClient) -> None:
    described = {each["name"]: each["shape"] for each in client.get_model_metadata("unbatched")["outputs"][6:]}
    assert described == {"boxes": [-1, 1, 4], "scores": [-1, 1], "labels": [-1, 1]}
    levels = np.array([0.25, 0.75], np.float32)
    sent = np.broadcast_to(levels[:, None, None, None], (2, 3, 16, 16)).copy()
    result = client.infer("unbatched", [tensor("image", "FP32", sent)])
    np.testing.assert_allclose(result.as_numpy("scores"), levels[:, None], atol=1e-6)
    assert result.as_numpy("boxes").shape == (2, 1, 4)
    assert client.infer("unbatched", [tensor("image", "FP32", sent[:0])]).as_numpy("boxes").shape == (0, 1, 4)


def test_the_best_classes_of_an_output(client: triton.InferenceServerClient) -> None:
    def best(model: str, sent: Any, output: str) -> Any:
        wanted = [triton.InferRequestedOutput(output, class_count=2)]
        return client.infer(model, [sent], outputs=wanted).as_numpy(output).tolist()

    found = best("colour", pictures(ORANGE, BLUE), "probabilities")
    assert found == [[b"1.000000:0:red", b"0.501961:1:green"], [b"1.000000:2:blue", b"0.000000:0:red"]]
    row = np.array([[1, 3, 2]], np.int32)
    assert best("identity_int32", tensor("x", "INT32", row), "y") == [[b"3.000000:1:middle", b"2.000000:2:right"]]


def test_errors_are_readable_in_the_clients_own_words(client: triton.InferenceServerClient) -> None:
    def error(model: str, *sent: Any, **options: Any) -> str:
        with pytest.raises(InferenceServerException) as raised:
            client.infer(model, list(sent), **options)
        assert raised.value.message()
        return str(raised.value)

    row = tensor("x", "FP32", np.zeros((1, 3), np.float32))
    assert error("nobody", row).startswith("[404] There is no model 'nobody'")
    assert "[404] Model 'colour' has no version '9'" in error("colour", pictures(BLUE), model_version="9")
    assert "has no input 'y'" in error("identity_fp32", tensor("y", "FP32", np.zeros((1, 3), np.float32)))
    assert "is of type FP32, not INT32" in error("identity_fp32", tensor("x", "INT32", np.zeros((1, 3), np.int32)))
    assert "has the shape [-1, 3]" in error("identity_fp32", tensor("x", "FP32", np.zeros((1, 4), np.float32)))
    assert "the input 'x' is there twice" in error("identity_fp32", row, row).replace("The", "the")
    assert "no output 'z'" in error("identity_fp32", row, outputs=[triton.InferRequestedOutput("z")])
    assert "[415]" in error("colour", tensor("image", "BYTES", np.array([b"no picture"], object)))
    broken = tensor("image", "BYTES", np.array([solid(BLUE), solid(BLUE)[:60]], object))
    assert error("colour", broken).startswith("[422] Picture 1: ")
    assert "at most 8" in error("colour", pictures(*[BLUE] * 9))
    assert "no parameter 'colour'" in error("colour", pictures(BLUE), parameters={"colour": 1})
    assert "asks for a sequence" in error("colour", pictures(BLUE), sequence_id=3, sequence_start=True)
    assert "make no difference to tensors" in error("identity_fp32", row, parameters={"top_k": 1})
    assert "not with top_k" in error("colour", pictures(BLUE), parameters={"top_k": 1})
    shared = triton.InferInput("x", [1, 3], "FP32")
    shared.set_shared_memory("region", 12)
    assert "Shared memory is not taken" in error("identity_fp32", shared)
    bytes_wanted = tensor("x", "BYTES", np.array([[b"\xff", b"", b""]], object))
    assert "not UTF-8" in error("identity_bytes", bytes_wanted)


def test_a_model_that_is_not_there_is_said_readably(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[404\] There is no"):
        client.get_model_metadata("nobody")


def test_many_at_once_each_get_their_own(protocol_server: Server) -> None:
    colours = [(step * 8, 255 - step * 8, 0) for step in range(32)]
    url = f"127.0.0.1:{protocol_server.port}"
    with triton.InferenceServerClient(url, concurrency=8) as client:
        asked = [client.async_infer("colour", [pictures(colour)]) for colour in colours]
        found = [each.get_result().as_numpy("probabilities")[0] for each in asked]
    np.testing.assert_allclose(np.array(found) * 255, colours, atol=0.01)


async def test_the_asynchronous_client(protocol_server: Server) -> None:
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{protocol_server.port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("colour")
        assert (await client.get_model_metadata("colour"))["versions"] == ["1", "2"]
        assert len(await client.get_model_repository_index()) == 8 + len(IDENTITIES)
        result = await client.infer(
            "colour",
            [pictures(ORANGE)],
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        )
        np.testing.assert_allclose(result.as_numpy("probabilities"), [[1, 0.5, 0]], atol=0.01)
        with pytest.raises(InferenceServerException, match="There is no model 'nobody'"):
            await client.infer("nobody", [pictures(ORANGE)])


def test_a_response_body_can_be_read_by_itself(client: triton.InferenceServerClient, protocol_server: Server) -> None:
    body, size = triton.InferenceServerClient.generate_request_body([pictures(BLUE)])
    response = httpx.post(
        f"{protocol_server.url}/v2/models/colour/infer",
        content=bytes(body),
        headers={"Inference-Header-Content-Length": str(size)},
    )
    header = int(response.headers["inference-header-content-length"])
    result = triton.InferenceServerClient.parse_response_body(response.content, header_length=header)
    np.testing.assert_allclose(result.as_numpy("probabilities"), [[0, 0, 1]], atol=0.01)


def test_pictures_and_tensors_of_many_clients_share_batches(protocol_server: Server) -> None:
    barrier = threading.Barrier(16)

    def ask(number: int) -> None:
        with triton.InferenceServerClient(f"127.0.0.1:{protocol_server.port}") as client:
            rows = tensor("image", "FP32", np.full((4, 3, 16, 16), number / 16, np.float32))
            barrier.wait(20)
            sent = pictures((number * 10, 0, 0)) if number % 2 else rows
            found = client.infer("colour", [sent])
            name, expected = ("probabilities", number * 10 / 255) if number % 2 else ("scores", number / 16)
            np.testing.assert_allclose(found.as_numpy(name)[:, 0], expected, atol=1e-3)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    with triton.InferenceServerClient(f"127.0.0.1:{protocol_server.port}") as client:
        (found,) = client.get_inference_statistics("colour", "2")["model_stats"]
    assert found["execution_count"] < found["inference_count"]


def test_options_of_pictures_are_parameters(client: triton.InferenceServerClient) -> None:
    def found(**parameters: Any) -> Any:
        return client.infer("box", [pictures(BLUE)], parameters=parameters)

    assert found(classes="green,blue").as_numpy("labels").tolist() == [[b"blue"]]
    assert found(classes="green").as_numpy("count").tolist() == [0]
    np.testing.assert_allclose(found(coordinates="normalized").as_numpy("boxes"), [[[0.25, 0.25, 0.75, 0.75]]])
    part = client.infer("parts", [pictures(BLUE)], parameters={"coordinates": "normalized", "classes": "2"})
    np.testing.assert_allclose(part.as_numpy("boxes"), [[[0, 0, 1, 1]]])
    np.testing.assert_allclose(part.as_numpy("map_box"), [[0, 0, 1, 1]])
    with pytest.raises(InferenceServerException, match="Near it is: blue"):
        found(classes="bleu")
    with pytest.raises(InferenceServerException, match="iou_threshold cannot be obeyed"):
        client.infer("parts", [pictures(BLUE)], parameters={"iou_threshold": 0.5})
