"""`azd up`: azure.yaml, and the two parameter files that azd reads, fit what they name.

azure.yaml was checked against azd's own schema (v1.0) when it was written; how azd finds the files is in its source
(cli/azd/pkg/project/service_target_containerapp.go).
"""

import re

import pytest
import yaml

from tests.deploy.places import ROOT, bicep

CONFIGURED = yaml.safe_load((ROOT / "azure.yaml").read_text())
((SERVICE, SETTINGS),) = CONFIGURED["services"].items()
GROUND, APP = "infra/main.bicepparam", f"infra/{SERVICE}.bicepparam"


def parameters(file: str) -> dict[str, str]:
    """What a parameter file gives, by name, as it is written."""
    found = re.findall(r"^param (\w+) = (\{.*?^\}|.+?)$", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


def test_azd_builds_the_dockerfile_in_the_registry() -> None:
    assert SETTINGS["host"] == "containerapp"
    docker = SETTINGS["docker"]
    assert (ROOT / SETTINGS["project"] / docker["path"]).is_file()
    assert docker["remoteBuild"] is True
    assert CONFIGURED["infra"] == {"provider": "bicep", "path": "infra", "module": "main"}


@pytest.mark.parametrize("file", [GROUND, APP])
def test_a_parameter_file_gives_what_its_template_has(file: str) -> None:
    (using,) = re.findall(r"^using '(.+)'$", (ROOT / file).read_text(), re.MULTILINE)
    template = bicep(str((ROOT / file).parent.joinpath(using).resolve().relative_to(ROOT)))
    given, declared = parameters(file), template.parameters()
    assert given.keys() <= declared.keys()
    assert {name for name, default in declared.items() if not default} <= given.keys()


def test_the_ground_is_the_same_under_the_app() -> None:
    """Both deploy the whole of containerapp.bicep: a value that differed would change under the app's feet."""
    ground, app = parameters(GROUND), parameters(APP)
    shared = ground.keys() & app.keys()
    assert shared == {"location", "compute", "createStorage", "keyVaultName", "alertEmails"}
    assert {name: ground[name] for name in shared} == {name: app[name] for name in shared}
    main = bicep("infra/main.bicep")
    ((_, _, passed),) = main.modules()
    assert shared | {"tags"} == set(re.findall(r"^    (\w+): ", passed, re.MULTILINE))
    assert "'azd-env-name': environmentName" in main.block("tags")
    assert "'azd-env-name': readEnvironmentVariable('AZURE_ENV_NAME'" in app["tags"]


def test_azd_finds_group_registry_image_and_app() -> None:
    assert {"AZURE_RESOURCE_GROUP", "AZURE_CONTAINER_REGISTRY_ENDPOINT"} <= bicep("infra/main.bicep").outputs()
    variable = f"SERVICE_{SERVICE.upper().replace('-', '_')}_IMAGE_NAME"
    assert parameters(APP)["image"] == f"readEnvironmentVariable('{variable}', '')"
    containerapp = bicep("containerapp.bicep")
    assert containerapp.default("name") == SERVICE
    assert "'azd-service-name': name" in containerapp.resource("app")


def test_whatever_can_be_set_is_documented() -> None:
    text = (ROOT / GROUND).read_text() + (ROOT / APP).read_text()
    named = set(re.findall(r"readEnvironmentVariable\('(ROO_\w+)'", text))
    document = (ROOT / "docs/deployment.md").read_text()
    assert named
    assert all(f"`{name}`" in document for name in named), named
