"""schemathesis asks everything that the OpenAPI document allows, and checks every answer against it."""

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.fixtures.server import Server

EXAMPLES = 40

# Whether bytes are a picture and how many are taken at once is more than a schema can say; and 503 and 504 are honest
# answers here: of the server errors, only 500 means that something broke.
BEYOND_THE_SCHEMA = [positive_data_acceptance, negative_data_rejection, not_a_server_error]


def test_every_answer_is_as_documented(server: Server) -> None:
    # One test, not one an operation: the document is only there once the service runs, long after collection.
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = []
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(), there=strategies.booleans())
        @settings(
            max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
        )
        def ask(case: Case, there: bool) -> None:
            if there and "name" in case.path_parameters:  # what a model that is not there is asked is not looked at
                case.path_parameters["name"] = "colour"
            response = case.call_and_validate(excluded_checks=BEYOND_THE_SCHEMA)
            assert response.status_code != 500, response.text
            if response.status_code >= 400 and case.path.startswith("/v2"):
                assert isinstance(response.json()["error"], str)

        ask()
        asked.append(operation.label)
    assert "POST /v1/predict" in asked
    assert "GET /readyz" in asked
    assert "POST /v2/models/{name}/infer" in asked
