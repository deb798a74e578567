"""Whose a model is: the digests of all its files, signed with an Ed25519 key.

A signature is a DSSE envelope (github.com/secure-systems-lab/dsse, protocol 1.0) around an in-toto statement (v1) that
names every file of the model's folder with its SHA-256, and the model, so that it cannot stand in for another. It says
who released the model, and not that it is the newest.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.errors import InvalidManifest, StartupError, UntrustedModel
from app.repository import traffic_file

FILE_NAME = "signature.json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:roo-vision:model:v1"
_MOST_BYTES = 8 * 2**20
_END = "-----END PUBLIC KEY-----"


def key_id(key: Ed25519PublicKey) -> str:
    """What a key is called: the beginning of the SHA-256 of its DER form."""
    form = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(form).hexdigest()[:16]


def files_of(folder: Path) -> dict[str, Path]:
    """What is signed: every file below a model's folder, by its path in it, with slashes; but not the signature itself,
    nor what says which of the versions answers, which changes while the model stays what it is.

    Raises `InvalidManifest` for a link, which could be another file a moment later.
    """
    found: dict[str, Path] = {}
    unsigned = {folder / name for name in (FILE_NAME, traffic_file.FILE_NAME, traffic_file.UNREADY_NAME)}
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            if path in unsigned:
                continue
            if path.is_symlink():
                raise InvalidManifest(f"{path} is a link, and links cannot be signed. Put the file itself there.")
            if name in names:
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def signed(name: str, digests: Mapping[str, str], key: Ed25519PrivateKey) -> str:
    """The envelope for a model's files, as the text of its file."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": path, "digest": {"sha256": digest}} for path, digest in sorted(digests.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"model": name},
    }
    payload = json.dumps(statement, separators=(",", ":")).encode()
    signature = {"keyid": key_id(key.public_key()), "sig": _text(key.sign(_authenticated(payload)))}
    envelope = {"payload": _text(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}
    return json.dumps(envelope, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys of which one must have signed a model, by what they are called."""

    keys: Mapping[str, Ed25519PublicKey]

    @classmethod
    def read(cls, path: Path) -> "Trust":
        """The public keys of a file, PEM, one after another; text between them is passed over.

        Raises `StartupError` where there is none, or one is not an Ed25519 key.
        """
        try:
            blocks = path.read_text("utf-8").split(_END)
        except (OSError, UnicodeDecodeError) as error:
            raise StartupError(f"ROO_TRUSTED_KEYS: {path} cannot be read: {error}.") from error
        keys = [_public_key(block + _END, path) for block in blocks[:-1]]
        if not keys:
            raise StartupError(
                f"ROO_TRUSTED_KEYS: {path} has no public key (PEM). `roo-vision models keygen` makes a pair."
            )
        return cls({key_id(key): key for key in keys})

    def check(self, folder: Path, name: str, digest: Callable[[Path], str]) -> str:
        """Which key has signed the model `name` with just the files of this folder.

        Raises `UntrustedModel`, with the first reason why none has.
        """
        statement, key = self._opened(folder)
        signed_name, said = _read(statement, folder)
        if signed_name != name:
            raise UntrustedModel(
                f"{folder / FILE_NAME} is the signature of the model {signed_name!r}, not of {name!r}."
            )
        there = files_of(folder)
        for path in sorted(there.keys() - said.keys()):
            raise UntrustedModel(f"{folder / path} is not among the files that were signed. Remove it, or sign again.")
        for path in sorted(said.keys() - there.keys()):
            raise UntrustedModel(f"{folder / path} was signed and is not there. Restore it, or sign again.")
        for path, file in there.items():
            if (found := digest(file)) != said[path]:
                raise UntrustedModel(
                    f"{file} was changed after it was signed: it has the digest {found}, not {said[path]}. Restore it, "
                    "or sign again."
                )
        return key

    def _opened(self, folder: Path) -> tuple[bytes, str]:
        """The statement, which one of the keys has signed, and what that key is called."""
        path = folder / FILE_NAME
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise UntrustedModel(f"{path} is larger than any signature.")
            envelope: Any = json.loads(path.read_bytes())
            payload = base64.b64decode(envelope["payload"], validate=True)
            signatures = [base64.b64decode(each["sig"], validate=True) for each in envelope["signatures"][:16]]
            kind = envelope["payloadType"]
        except FileNotFoundError:
            raise UntrustedModel(
                f"{folder} is not signed, and ROO_TRUSTED_KEYS demands it: there is no {FILE_NAME}. Sign it with "
                "`roo-vision models sign`."
            ) from None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise UntrustedModel(f"{path} is not a signature (a DSSE envelope): {type(error).__name__}.") from None
        for name, key in self.keys.items() if kind == PAYLOAD_TYPE else ():
            if any(_verifies(key, signature, payload) for signature in signatures):
                return payload, name
        raise UntrustedModel(
            f"{path} bears no valid signature of a trusted key ({', '.join(self.keys)}). Sign the model with one of "
            "them, or add the signer's public key to ROO_TRUSTED_KEYS."
        )


def _read(statement: bytes, folder: Path) -> tuple[str, dict[str, str]]:
    """The model's name and its files' digests. Whoever signed it is trusted, and may have signed something else."""
    try:
        content: Any = json.loads(statement)
        if (content["_type"], content["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise ValueError
        digests = {str(each["name"]): str(each["digest"]["sha256"]) for each in content["subject"]}
        return str(content["predicate"]["model"]), digests
    except (ValueError, TypeError, KeyError):
        raise UntrustedModel(f"{folder / FILE_NAME} is signed, but not a list of a model's files.") from None


def _authenticated(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _verifies(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, _authenticated(payload))
    except InvalidSignature:
        return False
    return True


def _public_key(block: str, path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(block[block.find("-----BEGIN") :].encode())
    except (ValueError, UnsupportedAlgorithm):
        raise StartupError(f"ROO_TRUSTED_KEYS: {path} has a block that is not a public key (PEM).") from None
    if not isinstance(key, Ed25519PublicKey):
        raise StartupError(f"ROO_TRUSTED_KEYS: {path} has a key that is not an Ed25519 key.")
    return key


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
