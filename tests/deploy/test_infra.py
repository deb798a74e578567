"""The modules of infra/: they fit together, roles are the least, and whatever is deleted can be made again."""

import json
import re

import pytest
import yaml

from tests.deploy.places import BICEP_FILES, KUBERNETES, ROOT, bicep

EVENTS, STORAGE, NETWORK, AKS = (bicep(f"infra/{name}.bicep") for name in ("events", "storage", "network", "aks"))
ROLE_FILES = [name for name in BICEP_FILES if "Microsoft.Authorization/roleAssignments" in (ROOT / name).read_text()]
BUILT_IN = {
    "acrPull": "7f951dda-4ed3-4680-a7ca-43fe172d538d",
    "monitoringDataReader": "b0d8363b-8ddd-447d-831f-62ca05bff136",
    "keyVaultSecretsUser": "4633458b-17de-408a-b874-0445c86b69e6",
    "networkContributor": "4d97b98b-1d4f-4787-a291-c67834d212e7",
    "serviceBusDataOwner": "090c5cfd-751d-490a-894a-3ce6f1109419",
    "serviceBusDataReceiver": "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
    "serviceBusDataSender": "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
    "storageBlobDataContributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "storageBlobDataReader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles"""

every = pytest.mark.parametrize("file", BICEP_FILES)


def problems(file: str, text: str) -> list[str]:
    """What does not fit between a file's modules and the files that they are, as Bicep's compiler would find it."""
    found = []
    folder = (ROOT / file).parent
    for name, path, body in type(AKS)(text).modules():
        used = bicep(str((folder / path).resolve().relative_to(ROOT)))
        (block,) = re.findall(r"^  params: \{\n(.*?)^  \}", body, re.MULTILINE | re.DOTALL)
        given = re.findall(r"^    (\w+): ", block, re.MULTILINE)
        declared = used.parameters()
        found += [f"{name}: {each} is no parameter" for each in given if each not in declared]
        found += [f"{name}: {each} is missing" for each, default in declared.items() if not (default or each in given)]
        read = set(re.findall(rf"\b{name}!?\.outputs\.(\w+)", text))
        found += [f"{name}: {each} is no output" for each in read - used.outputs()]
    return found


@every
def test_modules_get_the_parameters_that_they_have(file: str) -> None:
    assert problems(file, (ROOT / file).read_text()) == []


@pytest.mark.parametrize(
    ("there", "wrong", "told"),
    [
        ("    workspaceId: logs.id\n", "", "insights: workspaceId is missing"),
        ("    workspaceId: logs.id\n", "    workspace: logs.id\n", "insights: workspace is no parameter"),
        ("outputs.connection", "outputs.connect", "insights: connect is no output"),
    ],
)
def test_a_module_that_does_not_fit_is_found(there: str, wrong: str, told: str) -> None:
    text = (ROOT / "containerapp.bicep").read_text()
    assert there in text
    assert told in problems("containerapp.bicep", text.replace(there, wrong))


@every
def test_whatever_can_have_tags_has_them(file: str) -> None:
    for name, kind, body in bicep(file).resources():
        if re.search(r"^ +location: ", body, re.MULTILINE):
            assert re.search(r"^ +tags: ", body, re.MULTILINE), f"{name} ({kind})"


@every
def test_every_parameter_is_described(file: str) -> None:
    lines = bicep(file).text.splitlines()
    for index, line in enumerate(lines):
        if line.startswith(("param ", "output ")):
            block = "\n".join(lines[max(0, index - 12) : index]).rpartition("\n\n")[2]
            assert "@description(" in block, line


@pytest.mark.parametrize("file", ROLE_FILES)
def test_a_role_is_named_by_scope_principal_and_role(file: str) -> None:
    """By the principal's id, which changes where an identity is made again, and not by the identity's name."""
    text = bicep(file)
    ids = dict(re.findall(r"^(?:  |var )(\w+)(?:: | = )'([0-9a-f-]{36})'", text.text, re.MULTILINE))
    assert ids.items() <= BUILT_IN.items()
    granted = [body for _, kind, body in text.resources() if kind.startswith("Microsoft.Authorization/")]
    assert granted
    for body in granted:
        named = re.findall(r"name: guid\((\w+)\.id, (\w+), (\S+)\)", body)
        scope, principal = re.findall(r"scope: (\w+)", body), re.findall(r"principalId: (\w+)\n", body)
        role = re.findall(r"roleDefinitions', (\S+)\)", body)
        assert named == [(*scope, *principal, *role)]
        assert principal[0] in text.parameters(), "known only while it is deployed, so it comes by a parameter"


def test_rights_are_the_least() -> None:
    rights = {
        (principal, role.removeprefix("roles."), scope)
        for _, _, body in bicep("infra/roles.bicep").resources()
        for scope, principal, role in re.findall(r"guid\((\w+)\.id, (\w+), (\S+)\)", body)
    }
    assert rights == {
        ("worker", "serviceBusDataReceiver", "pictures"),
        ("worker", "serviceBusDataReceiver", "pictureSubscription"),
        ("worker", "serviceBusDataReceiver", "bulkPictures"),
        ("worker", "serviceBusDataSender", "results"),
        ("worker", "storageBlobDataReader", "storage"),
        ("worker", "storageBlobDataReader", "picturesIn"),
        ("worker", "storageBlobDataContributor", "resultsIn"),
        ("worker", "storageBlobDataReader", "models"),
        ("scaler", "serviceBusDataOwner", "pictures"),
        ("scaler", "serviceBusDataOwner", "pictureTopic"),
        ("scaler", "serviceBusDataOwner", "bulkPictures"),
        ("scaler", "monitoringDataReader", "metrics"),
        ("puller", "acrPull", "registry"),
        ("secretsReader", "keyVaultSecretsUser", "apiKeys"),
        ("secretsReader", "keyVaultSecretsUser", "webhookSigns"),
        ("gateway", "keyVaultSecretsUser", "certificateSecret"),
    }


def test_the_secrets_that_may_be_read_are_those_that_are_mounted() -> None:
    """Rights are given on one secret each, so its name has to be the manifests' and the commands'."""
    keys, certificate = bicep("infra/roles.bicep").default("apiKeysSecret"), AKS.default("certificateName")
    assert {keys} == {file.default("apiKeysSecret") for file in (AKS, bicep("containerapp.bicep"))}
    assert f"objectName: {keys}\n" in (KUBERNETES / "components/azure/secretproviderclass.yaml").read_text()
    names = yaml.safe_load((KUBERNETES / "overlays/cpu/azure.yaml").read_text())["data"]
    assert names["certificate"].endswith(f"/certificates/{certificate}")
    commands = (KUBERNETES / "README.md").read_text()
    assert f'grant $worker "Key Vault Secrets User" $vault/secrets/{keys}\n' in commands
    assert f'grant $gateway "Key Vault Secrets User" $vault/secrets/{certificate}\n' in commands


def test_event_grid_delivers_and_dead_letters_with_its_own_identity() -> None:
    subscription = EVENTS.resource("toTheQueue")
    assert "deliveryWithResourceIdentity: {" in subscription
    assert "deadLetterWithResourceIdentity: {" in subscription
    assert not re.search(r"^    (destination|deadLetterDestination):", subscription, re.MULTILINE)
    assert subscription.count("type: 'SystemAssigned'") == 2
    assert "dependsOn: [roles]" in subscription
    granted = bicep("infra/event-roles.bicep").resources()
    rights = [re.findall(r"guid\((\w+)\.id, sender, roles\.(\w+)\)", body)[0] for _, _, body in granted]
    assert rights == [
        ("pictures", "serviceBusDataSender"),
        ("pictureTopic", "serviceBusDataSender"),
        ("undelivered", "storageBlobDataContributor"),
    ]


def test_only_pictures_that_are_whole_make_a_message() -> None:
    subscription = EVENTS.resource("toTheQueue")
    assert "includedEventTypes: ['Microsoft.Storage.BlobCreated']" in subscription
    assert "subjectBeginsWith: '/blobServices/default/containers/${picturesContainer}/'" in subscription
    assert "CreateFile" not in EVENTS.variable("whole")
    passed = {name: body for name, _, body in bicep("containerapp.bicep").modules()}
    assert "resultsContainer: resultsQueue" in passed["storage"]
    assert bicep("containerapp.bicep").default("picturesContainer") == "createStorage ? 'pictures' : "
    assert bicep("containerapp.bicep").default("resultsQueue") != "pictures"


def test_storage_takes_no_key_and_ends_what_it_keeps() -> None:
    account = STORAGE.resource("newAccount")
    for closed in ("allowSharedKeyAccess", "allowBlobPublicAccess", "allowCrossTenantReplication"):
        assert f"{closed}: false" in account
    rule = STORAGE.resource("ends")
    assert "for container in made: {" in rule
    assert "prefixMatch: ['${container.name}/']" in rule
    assert "= if (create)" in rule


def test_a_closed_bus_still_takes_what_event_grid_brings() -> None:
    rules = bicep("infra/servicebus.bicep").resource("network")
    assert "if (publicNetworkAccess == 'Disabled')" in rules
    assert "trustedServiceAccessEnabled: true" in rules


@pytest.mark.parametrize(
    ("cloud", "keyvault", "zone"),
    [
        ("AzureCloud", ".vault.azure.net", "privatelink.vaultcore.azure.net"),
        ("AzureUSGovernment", ".vault.usgovcloudapi.net", "privatelink.vaultcore.usgovcloudapi.net"),
        ("AzureChinaCloud", ".vault.azure.cn", "privatelink.vaultcore.azure.cn"),
    ],
)
def test_private_zones_are_each_clouds_own(cloud: str, keyvault: str, zone: str) -> None:
    """https://learn.microsoft.com/azure/private-link/private-endpoint-dns lists them for each cloud."""
    assert cloud in json.loads((ROOT / "infra/clouds.json").read_text())
    (old, new) = re.findall(r"replace\(az\.environment\(\)\.suffixes\.keyvaultDns, '(.+?)', '(.+?)'\)", NETWORK.text)[0]
    assert f"privatelink{keyvault.replace(old, new)}" == zone
    assert "zone: 'privatelink.${cloud.bus}'" in NETWORK.text


def test_service_accounts_are_those_of_the_manifests() -> None:
    subjects = re.findall(r"subject: '(.+)'", AKS.text)
    assert all(subject in (KUBERNETES / "README.md").read_text() for subject in subjects)
    assert len(subjects) == 3


def test_outputs_are_named_as_the_overlay_names_them() -> None:
    assert AKS.outputs() <= set(yaml.safe_load((KUBERNETES / "overlays/cpu/azure.yaml").read_text())["data"])


def taint_that_is_tolerated(component: str) -> str:
    """The taint that pods tolerate with this component of k8s, as a node pool has it."""
    patches = yaml.safe_load((KUBERNETES / "components" / component / "kustomization.yaml").read_text())["patches"]
    added = [change for patch in patches if "patch" in patch for change in yaml.safe_load(patch["patch"])]
    (tolerated,) = (change["value"] for change in added if change["path"].endswith("/tolerations/-"))
    return f"{tolerated['key']}={tolerated['value']}:{tolerated['effect']}"


def test_the_gpu_pools_taint_is_what_pods_tolerate() -> None:
    assert f"taints: ['{taint_that_is_tolerated('gpu')}']" in AKS.block("pools")


def test_the_spot_pools_taint_is_what_pods_tolerate() -> None:
    assert f"taints: ['{taint_that_is_tolerated('spot')}']" in AKS.block("pools")


def test_gpus_are_those_that_the_image_can_use() -> None:
    """The A10's driver on AKS is older than 580."""
    assert "A10_v5" not in "".join(re.findall(r"'Standard_N\w+'", AKS.text))


def test_nodes_are_enough_for_the_pods_that_the_scaler_calls() -> None:
    scaled = yaml.safe_load((KUBERNETES / "components/keda/scaledobject.yaml").read_text())["spec"]["maxReplicaCount"]
    (cores,) = re.findall(r"Standard_D(\d+)as", AKS.default("cpuSize"))
    assert int(AKS.default("cpuNodes")) * (int(cores) // 2) >= scaled


def test_the_api_server_can_be_closed_to_the_internet() -> None:
    """By an address of the network, or to all addresses but some; both at once are refused by Azure."""
    access = AKS.resource("cluster").partition("apiServerAccessProfile: {\n")[2].partition("    }\n")[0]
    assert access.split("\n")[:2] == [
        "      enablePrivateCluster: privateCluster",
        "      authorizedIPRanges: privateCluster ? null : authorizedAddresses",
    ]
