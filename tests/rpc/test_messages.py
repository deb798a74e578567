"""The proto is the protocol: the same names, numbers and kinds as in another implementation of it."""

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from app.errors import InvalidRequest
from app.rpc import raw_contents
from app.rpc.messages import SERVICE, message, pool


def everything() -> list[str]:
    return sorted(pool().FindFileByName("inference.proto").message_types_by_name)


@pytest.mark.parametrize("name", everything())
def test_every_message_is_tritons(name: str) -> None:
    theirs = (
        service_pb2.DESCRIPTOR.message_types_by_name.get(name)
        or model_config_pb2.DESCRIPTOR.message_types_by_name[name]
    )
    compare(message(name).DESCRIPTOR, theirs)


def compare(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    for field in ours.fields:
        if (ours.name, field.name) == ("TensorMetadata", "parameters"):
            continue  # MLServer's, which Triton has not
        other = theirs.fields_by_name[field.name]
        assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), (
            field.name
        )
    for nested in ours.nested_types:
        if nested.name in theirs.nested_types_by_name:
            compare(nested, theirs.nested_types_by_name[nested.name])


def test_every_method_is_tritons() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    for method in pool().FindServiceByName(SERVICE).methods:
        assert method.input_type.full_name == theirs[method.name].input_type.full_name
        assert method.output_type.full_name == theirs[method.name].output_type.full_name


@pytest.mark.parametrize("sizes", [[], [0], [5], [127, 128], [70_000, 0, 3]])
def test_raw_contents_are_cut_out_and_put_in_again(sizes: list[int]) -> None:
    contents = [bytes([index + 1]) * size for index, size in enumerate(sizes)]
    request = service_pb2.ModelInferRequest(model_name="m", id="i", raw_input_contents=contents)
    request.inputs.add(name="x", shape=[1, -1])
    beside, raw = raw_contents.split(request.SerializeToString())
    assert [bytes(each) for each in raw] == contents
    del request.raw_input_contents[:]
    assert service_pb2.ModelInferRequest.FromString(beside) == request

    joined = raw_contents.join(
        message("ModelInferResponse")(model_name="m").SerializeToString(), [[each] for each in contents]
    )
    assert list(service_pb2.ModelInferResponse.FromString(joined).raw_output_contents) == contents
    streamed = service_pb2.ModelStreamInferResponse.FromString(raw_contents.embed(joined))
    assert streamed.infer_response.model_name == "m"


def test_whatever_the_bytes_are_they_are_split_or_refused() -> None:
    random = np.random.default_rng(0)
    for _ in range(3000):
        content = random.bytes(int(random.integers(0, 40)))
        try:
            beside, raw = raw_contents.split(content)
        except InvalidRequest:
            continue
        assert len(beside) + sum(map(len, raw)) <= len(content)
