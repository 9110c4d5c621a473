"""Compares the running server with the OpenAPI document, which must declare every response.

Schemathesis sends the examples, boundary values, valid and invalid values, and chains of linked operations.
`SCHEMA_EXAMPLES=300 pytest tests/servers/api/test_openapi_schema.py` is a long run.
"""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import settings, strategies
from schemathesis import Case

from fastapi_app.main import app
from tests.conftest import PASSWORD
from tests.processes import Server

DOCUMENT = app.openapi()
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5"))  # per operation, in addition to the document's examples
MAILBOXES = ["ada@example.com", "Ada <ada@example.com>", '"Lovelace, Ada" <ada@example.com>', "Áda <ada@bücher.example>"]
PARTLY_DESCRIBED = (
    "send_email",
    "send_emails",
    "resend_email",
    "reschedule_email",
    "put_template",
    "preview_template",
    "put_suppression",
)
OFF: dict[str, Any] = {"enabled": False}

CONFIG = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
        "output": {"sanitization": {"enabled": False}},  # a printed curl command keeps its (disposable) credential
        "phases": {"stateful": {"inference": {"algorithms": []}}},  # only the document's links, as lists have other tests' data
        "operations": [
            {"include-operation-id": "greet", "parameters": {"pause": 0}},  # otherwise each call would wait
            # With the embedded mailbox, this operation needs no credential.
            {"include-operation-id": "send_email_in_background", "checks": {"ignored_auth": OFF}},
            # The path of this operation also matches /emails/{email_id}, which allows other methods.
            {"include-operation-id": "send_emails", "checks": {"unsupported_method": OFF, "allow_header_conformance": OFF}},
            # JSON Schema cannot express all rules, for example that an email needs a text, an HTML body or a template.
            *({"include-operation-id": name, "checks": {"positive_data_acceptance": OFF}} for name in PARTLY_DESCRIBED),
        ],
    }
)
# The stream never ends, so tests/servers/api/test_live_events.py tests this operation.
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG).exclude(operation_id="stream_events")
schemathesis.openapi.format("mailbox", strategies.sampled_from(MAILBOXES))
schemathesis.openapi.format("mailbox-list", strategies.sampled_from([*MAILBOXES, ", ".join(MAILBOXES)]))


@pytest.fixture(scope="module")
def authorization(server: Server) -> dict[str, str]:
    """Return the administrator's Authorization header."""
    form = {"username": "admin", "password": PASSWORD}
    token = server.post("/api/token", data=form).raise_for_status().json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def test_the_server_serves_the_tested_document(server: Server) -> None:
    assert server.get("/api/openapi.json").json() == DOCUMENT


@SCHEMA.parametrize()
def test_responses_to_an_administrator_match_the_document(case: Case[Any], server: Server, authorization: dict[str, str]) -> None:
    case.call_and_validate(f"{server.url}/api", headers=authorization)


@SCHEMA.parametrize()
def test_responses_without_a_credential_match_the_document(case: Case[Any], server: Server) -> None:
    case.call_and_validate(f"{server.url}/api")


def test_responses_to_linked_operations_match_the_document(server: Server, authorization: dict[str, str]) -> None:
    class Calls(SCHEMA.as_state_machine()):  # type: ignore[misc]  # created at run time from the document
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"base_url": f"{server.url}/api", "headers": authorization}

    steps = settings(max_examples=4 * EXAMPLES, stateful_step_count=10, derandomize=True, database=None, deadline=None)

    Calls.run(settings=steps)
