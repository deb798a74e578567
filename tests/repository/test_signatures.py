"""Models are served as they were signed, or not at all; each way of not being so is one sentence."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.commands import signing
from app.errors import InvalidManifest, StartupError, UntrustedModel
from app.loading import loader
from app.loading.serving import Serving
from app.repository import signatures
from app.repository.repository import read_entry, survey
from app.repository.signatures import Trust
from app.settings import load_settings
from tests.commands.test_cli import roo
from tests.fixtures.blob_storage import Storage, blob_storage
from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.waiting import PATIENCE
from tests.repository.sources.conftest import contents, pull, upload


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a model of two versions, labels and an example, signed."""
    folder = add_colour_model(tmp_path / "models", "colour", ("1", "2"), labels="labels.txt")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    (folder / "examples").mkdir()
    (folder / "examples" / "one.jpg").write_bytes(b"a picture")
    signing.generate(tmp_path / "key")
    signing.sign(tmp_path / "models", "colour", tmp_path / "key")
    return tmp_path / "models"


@pytest.fixture
def trust(root: Path, tmp_path: Path) -> Trust:
    """The key that signed it."""
    return Trust.read(tmp_path / "key.pub")


def refusal(root: Path, trust: Trust) -> str:
    with pytest.raises(UntrustedModel) as error:
        read_entry(root / "colour", trust)
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_what_was_signed_is_read(root: Path, trust: Trust) -> None:
    assert read_entry(root / "colour", trust).signed_by in trust.keys
    assert read_entry(root / "colour").signed_by is None
    assert survey(root, None, trust).failures == {}


def test_who_answers_may_change_without_another_signature(root: Path, trust: Trust) -> None:
    (root / "colour" / "traffic.yaml").write_text("stages: {stable: 2}")
    entry = read_entry(root / "colour", trust)
    assert (entry.signed_by in trust.keys, entry.manifest.stages) == (True, {"stable": "2"})


def test_who_answers_may_be_being_written(root: Path, trust: Trust) -> None:
    """Or was, by a roll-out that was killed in the middle of it."""
    (root / "colour" / ".traffic.yaml.part").write_text("traffic: {1: ")
    assert read_entry(root / "colour", trust).signed_by in trust.keys


def test_an_entry_may_be_signed_again(root: Path, trust: Trust, tmp_path: Path) -> None:
    (root / "colour" / "labels.txt").write_text("rot\ngelb\nblau\n")
    refusal(root, trust)
    signing.sign(root, "colour", tmp_path / "key")
    assert read_entry(root / "colour", trust).labels == ("rot", "gelb", "blau")


@pytest.mark.parametrize("file", ["model.yaml", "labels.txt", "1/model.onnx", "2/model.onnx", "examples/one.jpg"])
def test_a_changed_file(file: str, root: Path, trust: Trust) -> None:
    with (root / "colour" / file).open("ab") as changed:
        changed.write(b"\n")
    assert f"{root / 'colour' / file} was changed after it was signed" in refusal(root, trust)


@pytest.mark.parametrize("file", ["labels.txt", "1/model.onnx"])
def test_a_file_that_is_gone(file: str, root: Path, trust: Trust) -> None:
    (root / "colour" / file).unlink()
    assert f"{root / 'colour' / file} was signed and is not there" in refusal(root, trust)


@pytest.mark.parametrize("file", ["3/model.onnx", "1/model.int8.onnx", ".hidden", "1/signature.json"])
def test_a_file_that_nobody_signed(file: str, root: Path, trust: Trust) -> None:
    (root / "colour" / file).parent.mkdir(exist_ok=True)
    (root / "colour" / file).write_bytes(b"x")
    assert f"{root / 'colour' / file} is not among the files that were signed" in refusal(root, trust)


def test_a_link_is_no_file(root: Path, trust: Trust, tmp_path: Path) -> None:
    graph = root / "colour" / "1" / "model.onnx"
    graph.rename(tmp_path / "elsewhere")
    graph.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidManifest, match="is a link"):
        read_entry(root / "colour", trust)


def test_no_signature(root: Path, trust: Trust) -> None:
    (root / "colour" / "signature.json").unlink()
    assert "is not signed, and ROO_TRUSTED_KEYS demands it" in refusal(root, trust)


def test_another_signer(root: Path, trust: Trust, tmp_path: Path) -> None:
    signing.generate(tmp_path / "stranger")
    signing.sign(root, "colour", tmp_path / "stranger")
    assert "bears no valid signature of a trusted key" in refusal(root, trust)
    both = tmp_path / "both.pub"
    both.write_text((tmp_path / "key.pub").read_text() + "# the other team\n" + (tmp_path / "stranger.pub").read_text())
    assert read_entry(root / "colour", Trust.read(both)).signed_by


def test_another_models_signature(root: Path, trust: Trust) -> None:
    (root / "colour").rename(root / "door")
    with pytest.raises(UntrustedModel, match="is the signature of the model 'colour', not of 'door'"):
        read_entry(root / "door", trust)
    assert read_entry(root / "door", trust, name="colour").name == "colour"


def _changed(envelope: dict[str, Any], **fields: Any) -> str:
    return json.dumps({**envelope, **fields})


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda envelope: "",
        lambda envelope: "[]",
        lambda envelope: "[" * 100_000,
        lambda envelope: _changed(envelope, payload="%%%"),
        lambda envelope: _changed(envelope, signatures=[]),
        lambda envelope: _changed(envelope, signatures=[{"sig": ""}]),
        lambda envelope: _changed(envelope, payloadType="text/plain"),
        lambda envelope: _changed(
            envelope, payload=base64.b64encode(base64.b64decode(envelope["payload"]) + b" ").decode()
        ),
        lambda envelope: json.dumps(envelope) + " " * (9 * 2**20),
    ],
)
def test_a_signature_that_is_none(spoiled: Callable[[dict[str, Any]], str], root: Path, trust: Trust) -> None:
    path = root / "colour" / "signature.json"
    path.write_text(spoiled(json.loads(path.read_text())))
    assert str(path) in refusal(root, trust)


def test_what_was_signed_is_what_the_standard_says(root: Path, tmp_path: Path) -> None:
    """OpenSSL verifies it, given what DSSE's specification says is signed."""
    envelope = json.loads((root / "colour" / "signature.json").read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    (tmp_path / "signed").write_bytes(b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload]))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "signed"]
    done = subprocess.run(
        [*command, "-sigfile", "signature"], cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    statement = json.loads(payload)
    assert {each["name"] for each in statement["subject"]} == set(signatures.files_of(root / "colour"))


def test_a_key_of_openssl_signs(root: Path, tmp_path: Path) -> None:
    for command in ("genpkey -algorithm ed25519 -out theirs", "pkey -in theirs -pubout -out theirs.pub"):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, timeout=PATIENCE, check=True)
    signing.sign(root, "colour", tmp_path / "theirs")
    assert read_entry(root / "colour", Trust.read(tmp_path / "theirs.pub")).signed_by


def test_files_of_keys_that_are_none(root: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read"):
        Trust.read(tmp_path / "nothing")
    (tmp_path / "empty").write_text("no key\n")
    with pytest.raises(StartupError, match="has no public key"):
        Trust.read(tmp_path / "empty")
    (tmp_path / "cut").write_text((tmp_path / "key.pub").read_text().replace("MCow", "MC"))
    with pytest.raises(StartupError, match="has a block that is not a public key"):
        Trust.read(tmp_path / "cut")
    with pytest.raises(StartupError, match="is not a private key"):
        signing.sign(root, "colour", tmp_path / "key.pub")
    with pytest.raises(StartupError, match="is there already"):
        signing.generate(tmp_path / "key")
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(tmp_path / "ec")],
        timeout=PATIENCE,
        check=True,
    )
    with pytest.raises(StartupError, match="is not an Ed25519 key"):
        signing.sign(root, "colour", tmp_path / "ec")


def test_a_private_key_is_its_owners_alone(root: Path, tmp_path: Path) -> None:
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_service_serves_what_is_signed_and_says_why_not_the_rest(root: Path, tmp_path: Path) -> None:
    add_box_model(root)
    done = roo("models", "check", root, ROO_TRUSTED_KEYS=tmp_path / "key.pub", ROO_DEVICE="cpu")
    assert done.returncode == 1
    assert "box is not signed" in " ".join((done.stdout + done.stderr).split())
    serving = Serving.of(load_settings(device="cpu", trusted_keys=tmp_path / "key.pub"))
    entry = read_entry(root / "colour", serving.trust)
    for model in loader.load(entry, serving):
        model.close()
    unchecked = replace(entry, signed_by=None)
    with pytest.raises(UntrustedModel, match="was read without checking its signature"):
        loader.load(unchecked, serving)


@pytest.fixture
def storage(root: Path) -> Iterator[Storage]:
    """The repository in a container."""
    with blob_storage() as running:
        upload(root, running)
        yield running


def test_a_pull_takes_only_what_is_signed(storage: Storage, trust: Trust, tmp_path: Path) -> None:
    into = tmp_path / "into"
    assert pull(storage.url, into, trust=trust).changed == ["colour"]
    before = contents(into)
    storage.put("colour/2/model.onnx", b"another")
    done = pull(storage.url, into, trust=trust)
    assert "models/colour/2/model.onnx was changed after it was signed" in str(done.failures["colour"])
    assert contents(into) == before


def test_what_was_pulled_before_keys_were_trusted_is_checked_too(root: Path, trust: Trust, tmp_path: Path) -> None:
    with (root / "colour" / "1" / "model.onnx").open("ab") as changed:
        changed.write(b"x")
    assert pull(root, tmp_path / "into").changed == ["colour"]
    done = pull(root, tmp_path / "into", trust=trust)
    assert (done.unchanged, list(done.failures)) == ([], ["colour"])
    assert f"{root}/colour/1/model.onnx was changed after it was signed" in str(done.failures["colour"])
    signing.sign(root, "colour", tmp_path / "key")
    assert pull(root, tmp_path / "into", trust=trust).changed == ["colour"]
    assert pull(root, tmp_path / "into", trust=trust).unchanged == ["colour"]
