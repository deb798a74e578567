"""Models from an OCI registry: a stand-in from the specification and, where it is installed, Distribution's own."""

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from app.errors import ModelsRefused, ModelsUnavailable, StartupError
from app.repository.sources.addresses import open_source, open_target
from app.repository.sources.base import PIECE_BYTES, Interrupted
from app.repository.sources.registry_login import login_of
from tests.fixtures.registry import MANIFEST, Registry, artifact, registry
from tests.fixtures.waiting import PATIENCE, until
from tests.repository.sources.conftest import Told, contents, pull


@pytest.fixture
def held(released: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    """A registry with the repository in it, and a home folder without a login."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with registry() as running:
        running.put(released)
        yield running


def log_in(running: Registry, **entry: str) -> None:
    """As `docker login` leaves it."""
    folder = Path.home() / ".docker"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"auths": {f"127.0.0.1:{running.port}": entry}}))


def test_an_artifact_comes_once(held: Registry, released: Path, into: Path) -> None:
    assert pull(held.address(), into).changed == ["box", "colour"]
    assert contents(into) == contents(released)
    again = Told()
    assert pull(held.address(), into, again).unchanged == ["box", "colour"]
    assert again.total == 0


def test_by_digest_and_what_is_not_there(held: Registry, into: Path) -> None:
    digest = next(name for name in held.manifests if ":" in name)
    assert pull(held.address(f"robots/models@{digest}"), into).changed == ["box", "colour"]
    for missing in ("robots/models:2", f"robots/models@sha256:{'a' * 64}"):
        with pytest.raises(ModelsUnavailable, match=r"is not there \(404\)"):
            pull(held.address(missing), into)


def test_another_manifest_than_the_digest_says(held: Registry, into: Path) -> None:
    digest = next(name for name in held.manifests if ":" in name)
    held.manifests[digest] += b" "
    with pytest.raises(ModelsRefused, match="the manifest has the digest"):
        pull(held.address(f"robots/models@{digest}"), into)


def test_a_blob_that_is_another(held: Registry, released: Path, into: Path) -> None:
    graph = (released / "colour" / "1" / "model.onnx").read_bytes()
    digest = f"sha256:{hashlib.sha256(graph).hexdigest()}"
    held.blobs[digest] = graph[:-1] + b"\x00"
    assert digest.removeprefix("sha256:") in str(pull(held.address(), into).failures["colour"])
    held.blobs[digest] = graph + b"more"
    assert "more bytes" in str(pull(held.address(), into).failures["colour"])
    assert not (into / "colour").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_that_is_cut_is_gone_on_with(ranges: bool, held: Registry, released: Path, into: Path) -> None:
    large = released / "colour" / "1" / "weights.bin"
    large.write_bytes(os.urandom(2 * PIECE_BYTES + 77))
    held.put(released)
    held.ranges, held.cuts, held.cut_at = ranges, 2, PIECE_BYTES + 5
    pull(held.address(), into)
    assert contents(into) == contents(released)
    asked = [headers["Range"] for _, _, headers in held.seen if "Range" in headers]
    assert asked
    assert all(int(each.removeprefix("bytes=").rstrip("-")) > 0 for each in asked)


def test_a_redirect_is_followed_without_the_token(held: Registry, released: Path, into: Path) -> None:
    held.elsewhere, held.login = True, ("robot", "secret")
    log_in(held, auth=base64.b64encode(b"robot:secret").decode())
    pull(held.address(), into)
    assert contents(into) == contents(released)
    redirected = [headers for _, path, headers in held.seen if path.startswith("/elsewhere")]
    assert redirected
    assert not any("Authorization" in headers for headers in redirected)


def test_a_redirect_into_clear_text_is_not_followed(into: Path) -> None:
    source = open_source("oci://127.0.0.1:1/robots/models:1")
    with pytest.raises(ModelsUnavailable, match=r"robots\.example/x would be asked in clear text"):
        list(source._http.stream("http://robots.example/x?sig=secret", 0))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["password", "identity token"])
def test_a_login_gets_tokens_and_new_ones_when_they_end(kind: str, held: Registry, into: Path) -> None:
    held.login, held.token_uses = ("robot", "secret"), 2
    with pytest.raises(ModelsUnavailable, match="refuses somebody without a login"):
        pull(held.address(), into)
    if kind == "password":
        log_in(held, auth=base64.b64encode(b"robot:secret").decode())
    else:
        log_in(held, identitytoken="secret")
    assert pull(held.address(), into).changed == ["box", "colour"]
    assert len(held.tokens) >= 3
    (Path.home() / ".docker" / "config.json").write_text(
        json.dumps({"auths": {f"127.0.0.1:{held.port}": {"auth": base64.b64encode(b"robot:wrong").decode()}}})
    )
    with pytest.raises(ModelsUnavailable, match=r"refuses the login of ~/\.docker/config\.json") as error:
        pull(held.address(), into)
    assert "wrong" not in str(error.value)


def test_files_of_logins_that_are_none(tmp_path: Path) -> None:
    for content in ("", "[]", '{"auths": {"a": {"auth": "%%%"}}}', '{"auths": {"a": 3}}'):
        (tmp_path / "config.json").write_text(content)
        assert not login_of("a", tmp_path / "config.json").known


def test_what_is_no_artifact_of_files(held: Registry, released: Path, into: Path) -> None:
    manifest = artifact(released, {})
    image = {**manifest, "layers": [{**layer, "annotations": None} for layer in manifest["layers"]]}
    folders = held.put(released, "folders", **{"io.deis.oras.content.unpack": "true"})
    wrong = {**manifest, "layers": [{**manifest["layers"][0], "digest": "md5:00"}]}
    refused = [
        (image, "is an image, or holds folders as archives"),
        (folders, "is an image, or holds folders as archives"),
        ({"mediaType": "application/vnd.oci.image.index.v1+json", "layers": []}, "not an artifact of files"),
        ({"schemaVersion": 1}, "not an artifact of files"),
        ({"layers": [3]}, "not one of the OCI specification"),
        (wrong, "a digest that is not SHA-256"),
        ([1], "is not a JSON object"),
    ]
    for number, (content, words) in enumerate(refused):
        held.put_manifest(content, f"wrong-{number}")
        with pytest.raises(ModelsRefused, match=words):
            pull(held.address(f"robots/models:wrong-{number}"), into)


@pytest.mark.parametrize("title", ["../escaped", "/etc/passwd", "colour/../../x"])
def test_a_title_that_leaves(title: str, held: Registry, released: Path, into: Path) -> None:
    manifest = artifact(released, {})
    manifest["layers"][0]["annotations"]["org.opencontainers.image.title"] = title
    held.put_manifest(manifest)
    with pytest.raises(ModelsRefused, match="leads out of the repository"):
        pull(held.address(), into)


def test_addresses_that_are_none() -> None:
    for address in (
        "oci://",
        "oci://host",
        "oci://host/Upper:1",
        "oci://host/a:b c",
        "oci://me@host/a:1",
        "oci://h/a@x",
    ):
        with pytest.raises(StartupError, match="oci://REGISTRY/REPOSITORY:TAG"):
            open_source(address)
    with pytest.raises(StartupError, match="cannot be pushed to oci://host/a:latest"):
        open_target("oci://host/a")


def test_a_registry_that_does_not_answer(into: Path) -> None:
    with pytest.raises(Interrupted, match="does not answer"):
        pull("oci://127.0.0.1:1/robots/models:1", into)


@contextmanager
def _distribution(folder: Path) -> Iterator[str]:
    """Distribution's registry, where it is installed."""
    command = shutil.which("docker-registry") or shutil.which("registry")
    if command is None:
        pytest.skip("Distribution's registry is not installed: only the stand-in was asked")
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\nhttp: {{addr: {host}}}\n"
    )
    with subprocess.Popen([command, "serve", str(folder / "config.yml")], stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: _answers(f"http://{host}/v2/"))
            yield host
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=PATIENCE).is_success
    except httpx.TransportError:
        return False


def test_a_real_registry(released: Path, into: Path, tmp_path: Path) -> None:
    (released / "colour" / "1" / "weights.bin").write_bytes(os.urandom(PIECE_BYTES + 9))
    blobs: dict[str, bytes] = {}
    manifest = artifact(released, blobs)
    with _distribution(tmp_path) as host, httpx.Client(base_url=f"http://{host}/v2/robots/models") as client:
        for digest, content in blobs.items():
            place = client.post("/blobs/uploads/").headers["Location"]
            assert client.put(f"{place}&digest={digest}", content=content).status_code == 201
        done = client.put("/manifests/1", content=json.dumps(manifest), headers={"Content-Type": MANIFEST})
        assert done.status_code == 201
        assert pull(f"oci://{host}/robots/models:1", into).changed == ["box", "colour"]
        assert contents(into) == contents(released)
        digest = done.headers["Docker-Content-Digest"]
        assert pull(f"oci://{host}/robots/models@{digest}", into).failures == {}
        source = open_source(f"oci://{host}/robots/models:1")
        (large,) = [each for each in source.files() if each.path.endswith("weights.bin")]
        content = (released / large.path).read_bytes()
        assert b"".join(source.read(large, PIECE_BYTES)) == content[PIECE_BYTES:]
        source.close()
        with pytest.raises(ModelsUnavailable, match="404"):
            pull(f"oci://{host}/robots/models:2", into)
