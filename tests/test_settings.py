"""Settings are typed, refuse what is dangerous, and are all documented."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from app import models_settings, queue_settings, settings, sink_settings
from app.errors import StartupError
from app.host.process import environment_with
from app.settings import Settings, load_client_settings, load_settings, the_queue

ROOT = Path(__file__).parents[1]


def test_the_environment_is_read_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_PORT", "9000")
    assert load_settings().port == 9000
    assert load_settings(port=9001, host=None).port == 9001


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_PORT", "x")
    monkeypatch.setenv("ROO_BULK_SHARE", "1")
    with pytest.raises(StartupError) as error:
        load_settings()
    assert "ROO_PORT: " in str(error.value)
    assert "ROO_BULK_SHARE: " in str(error.value)


OPTIONAL = [name for name, field in Settings.model_fields.items() if field.default is None]


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_need_not_be_set_is_not_set_where_its_variable_is_empty(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ROO_{name.upper()}", "")
    assert getattr(load_settings(), name) is None


@pytest.mark.parametrize("name", ["ENVIRONMENT", "AUTH", "PORT"])
def test_what_is_always_set_is_refused_where_its_variable_is_empty(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ROO_{name}", "")
    with pytest.raises(StartupError, match=f"ROO_{name}"):
        load_settings()


def test_a_misspelt_setting_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_LANE", "4")
    with pytest.raises(StartupError, match="ROO_LANE"):
        load_settings()


@pytest.mark.parametrize(
    "together",
    [
        {"drain_delay": 30, "grace_period": 30},
        {"max_image_bytes": 2**30},
        {"max_body_bytes": 2**30},
        {"max_pixels": 10**10},
    ],
)
def test_what_does_not_fit_together_is_refused(together: dict[str, int]) -> None:
    with pytest.raises(StartupError, match="ROO_"):
        load_settings(**together)


TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
ENTRA = {"auth": "entra", "entra_tenant": TENANT, "entra_audience": "api://x"}
PRODUCTION = {"environment": "production", "auth": "keys", "api_keys_file": "/keys"}


@pytest.mark.parametrize(
    ("together", "words"),
    [
        ({"environment": "production"}, "set ROO_AUTH"),
        ({"environment": "production", "auth": "none", "http": True}, "set ROO_AUTH"),
        ({"auth": "keys"}, "ROO_API_KEYS_FILE"),
        ({"auth": "keys+entra", "entra_tenant": TENANT, "entra_audience": "x"}, "ROO_API_KEYS_FILE"),
        ({"api_keys_file": "/keys"}, "set both, or neither"),
        ({"auth": "entra", "entra_audience": "api://x"}, "ROO_ENTRA_TENANT"),
        ({"auth": "entra", "entra_tenant": TENANT}, "ROO_ENTRA_AUDIENCE"),
        ({**ENTRA, "entra_issuer": "https://issuer.example"}, "one of"),
        ({**ENTRA, "entra_tenant": "common"}, "ROO_ENTRA_TENANT"),
        ({**ENTRA, "entra_tenant": None, "entra_issuer": "http://issuer.example"}, "must be https"),
        ({**ENTRA, "entra_tenant": None, "entra_issuer": "issuer.example"}, "URL"),
        ({**ENTRA, "environment": "production"}, "ROO_ENTRA_ROLES"),
        ({"entra_roles": "Predict"}, "does not ask"),
        ({"entra_tenant": TENANT}, "does not ask"),
        ({"rate_burst": 5}, "no ROO_RATE_LIMIT"),
        ({"cors_origins": "*"}, "exact origins"),
        ({"cors_origins": "null"}, "exact origins"),
        ({"cors_origins": "https://a.example/"}, "exact origins"),
        ({"cors_origins": "https://a.example,https://B.example"}, "B.example"),
        ({"cors_origins": "https://"}, "exact origins"),
        ({"cors_origins": "https://[broken"}, "exact origins"),
        ({**PRODUCTION, "cors_origins": "http://a.example"}, "only https"),
        (
            {
                **PRODUCTION,
                "auth": "keys+entra",
                "entra_issuer": "http://127.0.0.1:1",
                "entra_audience": "x",
                "entra_roles": "y",
            },
            "only https",
        ),
    ],
)
def test_what_would_be_dangerous_together_is_refused(together: dict[str, object], words: str) -> None:
    with pytest.raises(StartupError, match=f"(?i){words}") as error:
        load_settings(**together)
    assert "ROO_" in str(error.value)


def test_what_a_queue_needs_is_refused_without_it() -> None:
    with pytest.raises(StartupError, match="ROO_QUEUE needs either ROO_SERVICEBUS_NAMESPACE or"):
        load_settings(queue="jobs")
    with pytest.raises(StartupError, match="ROO_QUEUE does not say"):
        load_settings(servicebus_namespace="n.servicebus.windows.net")
    bus = {"servicebus_namespace": "n.servicebus.windows.net"}
    for queue in ("jobs", "Jobs/Subscriptions/vision"):
        with pytest.raises(StartupError, match="ROO_RESULTS_QUEUE is the queue or topic that is read"):
            load_settings(queue=queue, results_queue="jobs", **bus)
    for queue in ("jobs/subscriptions", "/jobs", "jobs/subscriptions/", "a b", "$cbs"):
        with pytest.raises(StartupError, match=r"ROO_QUEUE: .* is neither a queue's name nor TOPIC/subscriptions/NAME"):
            load_settings(queue=queue, **bus)


@pytest.mark.parametrize(
    ("together", "words"),
    [
        ({"queue": "jobs", "queue_sessions": 33}, "ROO_QUEUE_HELD must be at least 33"),
        ({"queue": "a,b", "queue_sessions": "b=31", "queue_held": 31}, "ROO_QUEUE_HELD must be at least 32"),
        ({"queue": "a,b,A"}, "names a queue twice"),
        ({"queue": "a,b", "queue_share": "c=0.1"}, "ROO_QUEUE_SHARE names 'c', which is none of ROO_QUEUE"),
        ({"queue": "a,b", "queue_share": "a=0.1"}, "the first queue has what the others leave"),
        ({"queue": "a,b", "queue_share": "b=1"}, "ROO_QUEUE_SHARE: .* less than 1"),
        ({"queue": "a,b", "queue_sessions": "b=many"}, "ROO_QUEUE_SESSIONS: .* valid integer"),
        ({"queue": "a,b", "queue_sessions": "0"}, "ROO_QUEUE_SESSIONS: .* greater than or equal to 1"),
        ({"queue": "a,b", "queue_model": "x,b=y"}, "ROO_QUEUE_MODEL: .* for all, or NAME=VALUE"),
        ({"queue": "a,b", "queue_model": "b=x,b=y"}, "ROO_QUEUE_MODEL: 'b' is said twice"),
        ({"queue": "a,results"}, "ROO_RESULTS_QUEUE is the queue or topic that is read"),
        ({"queue": "a,,b"}, "ROO_QUEUE: a name between the commas is empty"),
        ({"queue": "a,"}, "ROO_QUEUE: a name between the commas is empty"),
        ({"queue": "a", "queue_share": "0.3"}, "ROO_QUEUE_SHARE is between several queues"),
        ({"queue": "a,b", "reply_to": "c,B"}, "ROO_REPLY_TO names 'B', which is read"),
        ({"queue": "t/subscriptions/s", "reply_to": "T"}, "ROO_REPLY_TO names 'T', which is read"),
        ({"queue": "a", "servicebus_connection_string": "x"}, "both set. Unset one"),
    ],
)
def test_what_cannot_be_said_of_queues_is_refused(together: dict[str, object], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        load_settings(**together, results_queue="results", servicebus_namespace="n.servicebus.windows.net")


COSMOS = {"cosmos_endpoint": "https://n.documents.azure.com", "cosmos_database": "d", "cosmos_container": "c"}
HOOK = {"webhook_url": "https://hooks.example.com/in?token=hidden", "webhook_secret": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("together", "words"),
    [
        ({"cosmos_endpoint": "https://n.documents.azure.com"}, "go together: set all"),
        ({"cosmos_key": "aGlkZGVu"}, "there is no ROO_COSMOS_ENDPOINT"),
        ({**COSMOS, "cosmos_endpoint": "http://n.documents.azure.com"}, "must begin with https://"),
        ({**COSMOS, "cosmos_endpoint": "http://127.0.0.1:8081"}, "no token is sent: set ROO_COSMOS_KEY"),
        ({**COSMOS, "cosmos_endpoint": "https://n.documents.azure.com/d"}, "account's address alone"),
        ({**COSMOS, "cosmos_endpoint": "n.documents.azure.com"}, "is not the URL of a host"),
        ({**COSMOS, "cosmos_container": "a/b"}, "ROO_COSMOS_CONTAINER is no name"),
        ({**COSMOS, "cosmos_key": "hidden!"}, "in base64"),
        ({"webhook_secret": "0123456789abcdef"}, "there is no ROO_WEBHOOK_URL"),
        ({"webhook_url": HOOK["webhook_url"]}, "to sign with"),
        ({**HOOK, "webhook_secret_file": "/secret"}, "needs either"),
        ({**HOOK, "webhook_url": "http://hooks.example.com/?hidden"}, "must begin with https://"),
        ({**HOOK, "webhook_url": "https://me:hidden@hooks.example.com/"}, "without user"),
        ({**HOOK, "webhook_url": "https://[hidden"}, "ROO_WEBHOOK_URL is not a URL"),
        ({**HOOK, "webhook_hosts": "other.example.com"}, "'hooks.example.com', which is none of ROO_WEBHOOK_HOSTS"),
        ({**HOOK, "queue": ""}, "set ROO_QUEUE, or neither"),
    ],
)
def test_what_cannot_be_said_of_sinks_is_refused_and_no_secret_is_told(together: dict[str, str], words: str) -> None:
    bus = {"queue": "jobs", "servicebus_namespace": "n.servicebus.windows.net"} if "queue" not in together else {}
    with pytest.raises(StartupError, match=words) as error:
        load_settings(**{**bus, **together})
    assert "hidden" not in str(error.value)


def test_secrets_of_sinks_are_in_no_text() -> None:
    known = load_settings(queue="jobs", servicebus_namespace="n.servicebus.windows.net", **HOOK, **COSMOS)
    assert known.has_sinks
    assert "hidden" not in repr(known)
    assert HOOK["webhook_secret"] not in repr(known)


def test_queues_have_a_model_a_share_and_sessions_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_SERVICEBUS_NAMESPACE", "n.servicebus.windows.net")
    monkeypatch.setenv("ROO_QUEUE", "urgent, normal, shots/subscriptions/bulk")
    monkeypatch.setenv("ROO_QUEUE_MODEL", "urgent=shelf, shots/subscriptions/bulk=static")
    monkeypatch.setenv("ROO_QUEUE_SHARE", "normal=0.2")
    monkeypatch.setenv("ROO_QUEUE_SESSIONS", "urgent=4")
    urgent, normal, bulk = load_settings().queues
    assert (urgent.path, urgent.model, urgent.sessions) == ("urgent", "shelf", 4)
    assert (normal.path, normal.model, normal.sessions) == ("normal", None, None)
    assert (bulk.path, bulk.model, bulk.sessions) == ("shots/subscriptions/bulk", "static", None)
    assert [queue.weight for queue in (urgent, normal, bulk)] == pytest.approx([0.8, 0.18, 0.02])
    assert [queue.weight for queue in load_settings(queue_share="0.3").queues] == pytest.approx([0.7, 0.21, 0.09])
    (alone,) = load_settings(queue="jobs", queue_model="shelf", queue_share="", queue_sessions=2).queues
    assert (alone.model, alone.weight, alone.sessions) == ("shelf", 1.0, 2)


def test_who_asks_about_one_queue_of_several_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_SERVICEBUS_NAMESPACE", "n.servicebus.windows.net")
    monkeypatch.setenv("ROO_QUEUE", "urgent,bulk")
    monkeypatch.setenv("ROO_QUEUE_SHARE", "bulk=0.2")
    assert the_queue(load_client_settings("bulk"), "Which?") == "bulk"
    with pytest.raises(StartupError, match=r"Which\? Give --queue, one of urgent, bulk\."):
        the_queue(load_client_settings(None), "Which?")


def test_every_refusal_names_the_variables() -> None:
    """Whoever starts the service sets `ROO_*` variables, and knows no fields."""
    tree = ast.parse("".join(map(inspect.getsource, (settings, queue_settings, models_settings, sink_settings))))
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    said = ["".join(_texts(call)) for call in raised if ast.unparse(call.func) == "ValueError"]
    assert len(said) > 15
    fields = "|".join(name for name in Settings.model_fields if "_" in name)
    for text in said:
        named = re.findall(r"ROO_[A-Z_]+", text)
        assert named, text
        assert {name.removeprefix("ROO_").lower() for name in named} <= set(Settings.model_fields), text
        assert not re.search(rf"\b({fields})\b", text), text


def _texts(node: ast.AST) -> list[str]:
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_what_is_safe_together_is_taken() -> None:
    assert load_settings(**PRODUCTION, cors_origins="https://a.example:8443, https://b.example").auth == "keys"
    assert load_settings(environment="production", http=False).auth == "none"
    taken = load_settings(**ENTRA, environment="production", entra_roles="Predict,Admin")
    assert taken.issuer == f"https://login.microsoftonline.com/{TENANT}/v2.0"
    assert taken.entra_roles == ("Predict", "Admin")


def test_every_setting_is_documented_as_it_is() -> None:
    """docs/configuration.md has one row for each setting: name, default, meaning."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `(ROO_[A-Z_]+)` \| (.+) \|$", text, re.MULTILINE))
    expected = {
        f"ROO_{name.upper()}": f"{_default(field.default)} | {field.description}"
        for name, field in Settings.model_fields.items()
    }
    assert rows == expected


def _default(value: object) -> str:
    return "" if value in (None, (), {}) else f"`{value}`"


def test_a_child_does_not_listen_on_this_processs_grpc_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_GRPC_PORT", "8001")
    monkeypatch.setenv("ROO_PORT", "8000")
    given = environment_with(ROO_PORT="0")
    assert given["ROO_PORT"] == "0"
    assert "ROO_GRPC_PORT" not in given
    assert environment_with(ROO_GRPC_PORT="0")["ROO_GRPC_PORT"] == "0"
