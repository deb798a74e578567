"""Bodies as they arrive, cut anywhere: what comes out is the same, what is kept is counted, errors come early."""

import base64
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.api.body import UploadLimits
from app.api.form_body import FormBody
from app.api.json_body import JsonBody
from app.api.picture_buffer import PictureBuffer
from app.core.admission import Admission, Budget, Permit
from app.core.request import Priority
from app.errors import InvalidRequest, Overloaded, PayloadTooLarge

LIMITS = UploadLimits(image_bytes=5000, body_bytes=100_000, images=3, seconds=1.0)
LARGE = bytes(range(256)) * 15
SMALL = b"\x89PNG\r\n\x1a\n and more"


@pytest.fixture
def admission() -> Admission:
    return Admission(Budget(10, 100_000, 10**6))


@pytest.fixture
def permit(admission: Admission) -> Iterator[Permit]:
    with admission.permit(Priority.INTERACTIVE) as permit:
        yield permit
    assert admission.used.image_bytes == 0


def pieces(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def read_json(permit: Permit, body: bytes, size: int = 10**6) -> tuple[Any, list[Any]]:
    parser = JsonBody(permit, LIMITS)
    for piece in pieces(body, size):
        parser.feed(piece)
    return parser.finish()


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


WRITERS: dict[str, Callable[[bytes], str]] = {
    "plain": lambda content: json.dumps(encoded(content)),
    "with a prefix": lambda content: json.dumps(f"data:image/png;base64,{encoded(content)}"),
    "with line breaks": lambda content: json.dumps(base64.encodebytes(content).decode()),
    "with carriage returns": lambda content: json.dumps(base64.encodebytes(content).decode().replace("\n", "\r\n")),
    "for URLs": lambda content: json.dumps(base64.urlsafe_b64encode(content).decode()),
    "for URLs, without padding": lambda content: json.dumps(base64.urlsafe_b64encode(content).decode().rstrip("=")),
    "as PHP does": lambda content: json.dumps(encoded(content)).replace("/", r"\/"),
    "as .NET does": lambda content: json.dumps(encoded(content)).replace("+", r"\u002B"),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())
@pytest.mark.parametrize("size", [1, 7, 4096, 10**6])
@pytest.mark.parametrize("content", [LARGE, LARGE + b"\xff", LARGE + b"\xfb\xef", SMALL])
def test_base64_in_every_writing_cut_anywhere(
    permit: Permit, writer: Callable[[bytes], str], size: int, content: bytes
) -> None:
    body = f'\ufeff{{"top_k": 2, "images": [{{"id": "a \\" ü", "image": {writer(content)}}}]}}'
    request, contents = read_json(permit, body.encode(), size)
    assert contents == [content]
    assert (request.top_k, request.images[0].id) == (2, 'a " ü')
    assert permit._bytes == len(content)


@pytest.mark.parametrize("size", [1, 10**6])
@pytest.mark.parametrize("damaged", ["*", "A=A", "\u00e4", "A" * 5 + "==", "\\\\", "data:image/png,abc"])
@pytest.mark.parametrize("filling", [0, 1500])
def test_what_is_no_base64_is_that_picture_s_own_error(permit: Permit, damaged: str, filling: int, size: int) -> None:
    text = damaged + "A" * filling if damaged.startswith("data") else "A" * filling + damaged
    body = json.dumps({"images": [{"image": text}, {"image": encoded(LARGE)}]})
    _, contents = read_json(permit, body.encode(), size)
    assert isinstance(contents[0], InvalidRequest)
    assert contents[1] == LARGE
    assert permit._bytes == len(LARGE)


@pytest.mark.parametrize("size", [1, 100, 999, 1000])
def test_what_a_growing_picture_allocates_is_counted(admission: Admission, permit: Permit, size: int) -> None:
    buffer = PictureBuffer(permit, 10**5)
    for _ in range(5000 // size):
        buffer.write(bytes(size))
        held = sys.getsizeof(buffer._more) if buffer._more is not None else len(buffer._first)
        assert held <= admission.used.image_bytes + 128  # its own object
    content = buffer.content()
    assert admission.used.image_bytes == len(content)


def test_no_step_makes_an_error_of_each_of_a_thousand_names(permit: Permit) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_json(permit, b"{%s}" % b",".join(b'"k%d":1' % at for at in range(1500)))
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 200


def test_a_picture_that_is_too_large_is_its_own_error_too(permit: Permit) -> None:
    body = json.dumps({"images": [{"image": encoded(bytes(5001))}, {"image": encoded(LARGE)}]})
    _, contents = read_json(permit, body.encode(), 999)
    assert isinstance(contents[0], PayloadTooLarge)
    assert contents[1] == LARGE


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"images": [' + b'{"a": 1},' * 300_000, "besides its pictures"),
        (b'{"images": [' + b"[" * 20_000, "JSON body is not"),
        (b" " * 100_000, "besides its pictures"),
        (b'{"images": [' + b'{"image": "%s"},' % (b"A" * 2000) * 4, "more than 3 pictures"),
        (json.dumps({"images": [{"image": "AAAA"}] * 4}).encode(), "more than 3 pictures"),
        (b'{"images": [{"image": "AAAA"}], "top_k": %s}' % (b"9" * 5000), "JSON body is not"),
        (b'{"images": [{"image": "AAAA", "id": "%s"}]}' % (b"i" * 2000), "where no picture belongs"),
        (b'{"%s": 1, "images": [{"image": "AAAA"}]}' % (b"k" * 2000), "JSON body is not"),
        (b'{"images": [{"image": "%s"}], "images": [{"image": "AA=="}]}' % (b"A" * 2000), "where no picture belongs"),
        (b'{"images": [{"image": "A\\uZZZZ"}]}', "JSON"),
        (b'{"images": [{"image": "AAA', "JSON body is not"),
        (
            b'{"images": [{"image": "AAAA"}], %s}' % b",".join(b'"k%d": 1' % at for at in range(99)),
            "more than 64 names",
        ),
        (b'{"images": [{%s}]}' % b",".join(b'"k%d": 1' % at for at in range(99)), "more than 64 names"),
        ('{"images": []}'.encode("utf-16"), "JSON body is not"),
    ],
)
@pytest.mark.parametrize("size", [1000, 10**6])
def test_json_that_is_not_taken_is_told_why(permit: Permit, body: bytes, words: str, size: int) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_json(permit, body, size)


def test_the_name_that_stands_for_a_picture_is_not_told(permit: Permit) -> None:
    body = b'{"images": [{"image": "%s", "id": 7}]}' % (b"A" * 2000)
    with pytest.raises(InvalidRequest) as caught:
        read_json(permit, body)
    assert "column" not in str(caught.value)
    assert "images.0.id" in str(caught.value)


def form(*parts: tuple[str, bytes], boundary: str = "b0und") -> bytes:
    lines = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in parts]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


def read_form(
    permit: Permit, body: bytes, size: int = 10**6, kind: bytes = b'multipart/form-data; boundary="b0und"'
) -> tuple[Any, list[Any]]:
    parser = FormBody(kind, permit, LIMITS)
    for piece in pieces(body, size):
        parser.feed(piece)
    return parser.finish()


NASTY = b"\r\n--b0un\r\n--b0unx\r\n-\r\n--" * 100 + b"\r\n--b0un"


@pytest.mark.parametrize("size", [1, 3, 64, 10**6])
def test_a_form_cut_anywhere(permit: Permit, size: int) -> None:
    body = b"something before\r\n" + form(
        ('Content-Disposition: form-data; name="image"; filename="a \\"quoted\\".png"', NASTY),
        ('content-disposition: form-data; name="top_k"', b"2"),
        ("Content-Type: image/png\r\nContent-Disposition: form-data; name=file; filename*=UTF-8''%C3%BC.png", LARGE),
        ('Content-Disposition: form-data; name="nobody chose"; filename=""', b""),
        ('Content-Disposition: form-data; name="photo"', SMALL),
    )
    options, pictures = read_form(permit, body + b"and after", size)
    assert pictures == [('a "quoted".png', NASTY), ("ü.png", LARGE), ("photo", SMALL)]
    assert options.top_k == 2
    assert permit._bytes == len(NASTY) + len(LARGE) + len(SMALL) + 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(('Content-Disposition: form-data; name="scorethreshold"', b"0.5")), "scorethreshold"),
        (form(('Content-Disposition: form-data; name="score_threshold"', b"much")), "score_threshold"),
        (form(('Content-Disposition: form-data; name="top_k"', b"1" * 2000)), "too long"),
        (form(*[('Content-Disposition: form-data; name="a"; filename="a"', b"x")] * 4), "more than 3 pictures"),
        (form(("X-Long: " + "a" * 9000, b"")), "larger than 8192"),
        (b"--b0und\r\nX-Endless: " + b"a" * 9000, "larger than 8192"),
        (b"--b0und and more\r\n\r\n", "no end of line"),
        (b"--b0und" + b" " * 9000, "no end of line"),
        (form(('Content-Disposition: form-data; name="a"; filename="a"', b"x"))[:-6], "before its last boundary"),
        (form(), "no files"),
        (form(*[('Content-Disposition: form-data; name="top_k"', b"1")] * 80), "too many fields"),
        (b"\r\n" * 40_000, "before its last boundary"),
    ],
)
@pytest.mark.parametrize("size", [50, 10**6])
def test_a_form_that_is_not_taken_is_told_why(permit: Permit, body: bytes, words: str, size: int) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read_form(permit, body, size)


@pytest.mark.parametrize("kind", [b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; x"])
def test_a_form_without_a_boundary(permit: Permit, kind: bytes) -> None:
    with pytest.raises(InvalidRequest, match="boundary"):
        read_form(permit, b"", kind=kind)


def test_one_file_that_is_too_large_does_not_cost_the_others_their_answer(permit: Permit) -> None:
    head = 'Content-Disposition: form-data; name="image"; filename="a"'
    _, pictures = read_form(permit, form((head, bytes(6000)), (head, LARGE)), 1000)
    assert isinstance(pictures[0][1], PayloadTooLarge)
    assert pictures[1][1] == LARGE
    assert permit._bytes == len(LARGE)


@pytest.mark.parametrize("kind", ["form", "json"])
def test_no_more_is_kept_than_there_is_room_for(kind: str) -> None:
    admission = Admission(Budget(10, 6000, 10**6))
    with admission.permit(Priority.INTERACTIVE) as permit:
        head = 'Content-Disposition: form-data; name="image"; filename="a"'
        as_json = json.dumps({"images": [{"image": encoded(LARGE)}] * 2}).encode()
        read, body = (read_form, form((head, LARGE), (head, LARGE))) if kind == "form" else (read_json, as_json)
        with pytest.raises(Overloaded):
            read(permit, body, 100)
        assert admission.used.image_bytes <= 6000
    assert admission.used.image_bytes == 0
