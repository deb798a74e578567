"""One MLflow server for all tests of training: it takes long to start."""

from collections.abc import Iterator

import pytest

from tests.fixtures.mlflow_program import MlflowProgram, mlflow_program


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowProgram]:
    """A running server; who kills it starts it again."""
    with mlflow_program(tmp_path_factory.mktemp("mlflow")) as program:
        yield program
