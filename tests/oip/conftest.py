"""A service with models of every task and an identity graph of every datatype."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.models import (
    IDENTITIES,
    add_box_model,
    add_colour_model,
    add_identity_model,
    add_parts_model,
    box_manifest,
    save_unbatched_box,
    write_manifest,
)
from tests.fixtures.server import Server, serving


@pytest.fixture(scope="session")
def protocol_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`colour` in two versions, `strict`, `box`, `unbatched`, `parts` and the identities."""
    root = tmp_path_factory.mktemp("protocol")
    add_colour_model(root, versions=("1", "2"), versions_served=["1", "2"])
    strict = {"softmax": False, "top_k": 1, "score_threshold": 0.9}
    add_colour_model(root, "strict", classification=strict)
    add_box_model(root)
    save_unbatched_box(root / "unbatched" / "1" / "model.onnx")
    section = {"decoder": "boxes_scores_labels", "outputs": ["boxes", "scores", "labels"]}
    write_manifest(root / "unbatched", box_manifest(detection=section, batching={"batch_dimension": False}))
    add_parts_model(root)
    for datatype in IDENTITIES:
        add_identity_model(root, datatype, labels=["left", "middle", "right"])
    return root


@pytest.fixture(scope="session")
def protocol_server(protocol_models: Path) -> Iterator[Server]:
    """One running service for all tests of the protocol that do not change it."""
    settings = {"max_image_bytes": 2**20, "max_body_bytes": 2**22, "max_images_per_request": 8, "grpc_port": 0}
    with serving(protocol_models, default_model="colour", **settings) as running:
        yield running
        assert "Traceback" not in running.log
