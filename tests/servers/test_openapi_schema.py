"""OpenAPI against the running server: whatever is asked, the answer is one that the document tells of.

Schemathesis asks: the examples, values at and beyond their edges, values that fit and values that do not, and calls that
follow from one another. `SCHEMA_EXAMPLES=300 pytest tests/servers/test_schema.py` makes a long run of it.
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
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "5"))  # of each operation, beside those that the document itself gives
MAILBOXES = ["ada@example.com", "Ada <ada@example.com>", '"Lovelace, Ada" <ada@example.com>', "Áda <ada@bücher.example>"]
PARTICULAR = ("send_email", "send_emails", "reschedule_email", "put_template", "preview_template", "put_suppression")
OFF: dict[str, Any] = {"enabled": False}

CONFIG = schemathesis.Config.from_dict(
    {
        "seed": 1,
        "generation": {"max-examples": EXAMPLES, "deterministic": True, "database": "none"},
        "output": {"sanitization": {"enabled": False}},  # a line of curl that can be pasted; the data is thrown away
        "phases": {"stateful": {"inference": {"algorithms": []}}},  # the links of the document; lists hold what others left
        "operations": [
            {"include-operation-id": "greet", "parameters": {"pause": 0}},  # else it would be waited for, again and again
            # With the embedded mailbox it is open to all.
            {"include-operation-id": "send_email_in_background", "checks": {"ignored_auth": OFF}},
            # Its path is also one of /emails/{email_id}, and may be called as such.
            {"include-operation-id": "send_emails", "checks": {"unsupported_method": OFF, "allow_header_conformance": OFF}},
            # JSON Schema cannot say it all: a text, HTML or a template; up to 30 days ahead; Liquid; an address in ASCII.
            *({"include-operation-id": name, "checks": {"positive_data_acceptance": OFF}} for name in PARTICULAR),
        ],
    }
)
# The stream has no end: tests/servers/test_live.py reads it.
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG).exclude(operation_id="stream_events")
schemathesis.openapi.format("mailbox", strategies.sampled_from(MAILBOXES))


@pytest.fixture(scope="module")
def authorization(server: Server) -> dict[str, str]:
    """The header of the administrator."""
    form = {"username": "admin", "password": PASSWORD}
    token = server.post("/api/token", data=form).raise_for_status().json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def test_the_server_tells_of_what_is_tried_here(server: Server) -> None:
    assert server.get("/api/openapi.json").json() == DOCUMENT


@SCHEMA.parametrize()
def test_an_administrator_is_answered_as_documented(case: Case[Any], server: Server, authorization: dict[str, str]) -> None:
    case.call_and_validate(f"{server.url}/api", headers=authorization)


@SCHEMA.parametrize()
def test_a_stranger_is_answered_as_documented(case: Case[Any], server: Server) -> None:
    case.call_and_validate(f"{server.url}/api")


def test_calls_that_follow_from_one_another_are_answered_as_documented(server: Server, authorization: dict[str, str]) -> None:
    class Calls(SCHEMA.as_state_machine()):  # type: ignore[misc]  # made at run time, from the document
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"base_url": f"{server.url}/api", "headers": authorization}

    steps = settings(max_examples=4 * EXAMPLES, stateful_step_count=10, derandomize=True, database=None, deadline=None)

    Calls.run(settings=steps)
