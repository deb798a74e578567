"""Values to octets and back."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.devbus.amqp.decode import decode, skip
from app.devbus.amqp.encode import encoded
from app.devbus.amqp.errors import AmqpError
from app.devbus.amqp.framing import EMPTY_FRAME, Frame, FrameReader, frame
from app.devbus.amqp.message import DATA, Message, data_sections, delivery_sections, parse
from app.devbus.amqp.types import (
    Array,
    Byte,
    Described,
    Int,
    Opaque,
    Short,
    Symbol,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
    Ushort,
)


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


SYMBOLS = st.text(st.characters(max_codepoint=126, min_codepoint=33), max_size=300).map(Symbol)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    whole(8, signed=False).map(Ubyte),
    whole(16, signed=False).map(Ushort),
    whole(32, signed=False).map(Uint),
    whole(64, signed=False).map(Ulong),
    whole(8, signed=True).map(Byte),
    whole(16, signed=True).map(Short),
    whole(32, signed=True).map(Int),
    whole(64, signed=True),
    whole(64, signed=True).map(Timestamp),
    st.floats(allow_nan=False),
    st.uuids(),
    st.binary(max_size=300),
    st.text(max_size=300),
    SYMBOLS,
    st.binary(min_size=4, max_size=4).map(lambda octets: Opaque(0x72, octets)),
)
ARRAYS = st.one_of(
    *(
        st.lists(items, min_size=1, max_size=5).map(Array)
        for items in (st.uuids(), whole(64, signed=True), whole(32, signed=False).map(Uint), SYMBOLS, st.binary())
    )
)
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(max_size=9) | SYMBOLS, inner, max_size=5),
        st.builds(Described, whole(64, signed=False).map(Ulong) | SYMBOLS, inner),
    ),
    max_leaves=20,
)


@given(VALUES)
def test_a_value_comes_back_with_its_type(value: object) -> None:
    octets = encoded(value)
    again, end = decode(octets)
    assert again == value
    assert type(again) is type(value)
    assert end == skip(octets, 0) == len(octets)


@given(st.binary(max_size=60))
def test_octets_from_anywhere_are_a_value_or_an_error(octets: bytes) -> None:
    try:
        _, end = decode(octets)
    except AmqpError:
        return
    assert end <= len(octets)


@given(VALUES, st.data())
def test_a_value_that_is_cut_short_is_an_error(value: object, data: st.DataObject) -> None:
    octets = encoded(value)
    with pytest.raises(AmqpError):
        decode(octets[: data.draw(st.integers(0, len(octets) - 1))])


def test_what_amqp_has_no_type_for_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        encoded(object())


def test_nesting_is_bounded() -> None:
    with pytest.raises(AmqpError, match="deep"):
        decode(b"\x00" * 200)


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_frames_are_found_wherever_the_stream_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(0, 7, body) for body in bodies) + EMPTY_FRAME
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = FrameReader(512), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += [item for item in reader.feed(stream[start:end]) if isinstance(item, Frame)]
    assert [bytes(item.body) for item in found] == [*bodies, b""]


def test_a_bare_message_is_handed_on_as_it_came() -> None:
    header = encoded(Described(0x70, [True, Ubyte(9), Uint(5000)]))
    bare = encoded(Described(0x73, ["id", b"user"])) + encoded(Described(0x74, {"a": 1.5, "b": UUID(int=3)}))
    bare += encoded(Described(DATA, b"x")) + encoded(Described(DATA, b"y")) + encoded(Described(0x78, {}))
    for_this_hop = encoded(Described(0x71, {Symbol("x"): 1}))
    message = parse(header + encoded(Described(0x72, {Symbol("x-opt-partition-key"): "p"})) + bare + for_this_hop)
    assert (message.message_id, message.ttl, message.data) == ("id", 5.0, b"xy")
    assert message.application_map == {"a": 1.5, "b": UUID(int=3)}
    sections = delivery_sections(message, 2, {Symbol("x-opt-sequence-number"): 7})
    delivered = parse(b"".join(sections))
    assert b"".join(sections).endswith(bare)
    assert delivered.header == [True, 9, 5000, None, 2]
    assert delivered.annotations == {"x-opt-partition-key": "p", "x-opt-sequence-number": 7}


def test_an_empty_message_has_nothing() -> None:
    message = parse(b"")
    assert (message.message_id, message.ttl, message.data, message.value) == (None, None, b"", None)
    assert data_sections(b"") == []
    assert Message().application_map == {}


def test_properties_that_cannot_be_read_are_none_and_do_not_stop_the_message() -> None:
    broken = parse(b"\x00\x53\x73\xc0\x03\x01\xff\xff" + b"\x00\x53\x74\xa1\x01x")
    assert (broken.message_id, broken.application_map) == (None, {})
    assert broken.with_application_properties({"DeadLetterReason": "r"}).application_map == {"DeadLetterReason": "r"}


@pytest.mark.parametrize(
    "octets",
    [b"\x00", b"\x01\x02\x03", encoded(Described(0x99, [])), encoded(Described(0x70, 1)), b"\x00\x53\x75\xb0\x00"],
)
def test_a_broken_message_is_an_error(octets: bytes) -> None:
    with pytest.raises(AmqpError):
        parse(octets)
