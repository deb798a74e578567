"""`roo-vision models keygen | sign`: whose models are, said so that others can check it."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.errors import StartupError
from app.repository import repository, signatures
from app.repository.sources.files import write_whole


def generate(path: Path) -> str:
    """Write a new private key to `path` (PEM, for its owner alone) and its public key beside it, with `.pub`.

    Returns what the key is called. Raises `StartupError` where a file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for file, content, mode in ((path, secret, 0o600), (path.with_name(f"{path.name}.pub"), public, 0o644)):
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                out.write(content)
        except FileExistsError:
            raise StartupError(f"{file} is there already. Choose another --out; a key is never overwritten.") from None
        except OSError as error:
            raise StartupError(f"{file} cannot be written: {error.strerror}.") from error
    return signatures.key_id(key.public_key())


def sign(root: Path, name: str, key_file: Path) -> tuple[int, str]:
    """Sign a model or chain of the repository `root` with all files that it has now.

    Returns how many there are, and what the key is called. Raises `StartupError`, and `InvalidManifest` where the model
    could not be served.
    """
    key = _private_key(key_file)
    folder = repository.described_folder(root, name)
    repository.check_folder(folder)
    files = signatures.files_of(folder)
    digests = {path: repository.sha256(file) for path, file in files.items()}
    try:
        write_whole(folder / signatures.FILE_NAME, signatures.signed(name, digests, key))
    except OSError as error:
        raise StartupError(f"{folder / signatures.FILE_NAME} cannot be written: {error.strerror}.") from error
    return len(digests), signatures.key_id(key.public_key())


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise StartupError(f"--key {path} cannot be read: {error.strerror}.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise StartupError(
            f"--key {path} is not a private key (PEM) without a password. `roo-vision models keygen` makes one."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StartupError(f"--key {path} is not an Ed25519 key. `roo-vision models keygen` makes one.")
    return key
