"""What the browser runs is what was looked at."""

import hashlib

import pytest

from app.api.documentation import FOLDER

# Of npm's swagger-ui-dist 5.35.0.
PUBLISHED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "favicon.png": "3ed612f41e050ca5e7000cad6f1cbe7e7da39f65fca99c02e99e6591056e5837",
}


@pytest.mark.parametrize(("name", "digest"), PUBLISHED.items())
def test_swagger_ui_is_as_published(name: str, digest: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_nothing_else_lies_beside_it() -> None:
    ours = {"page.html", "start.js"}
    assert {path.name for path in FOLDER.iterdir()} == PUBLISHED.keys() | ours
