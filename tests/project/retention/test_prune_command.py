"""`manage.py prune`."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from project.emails.models import RawMessage
from tests.project.retention.test_expired_data import stored


@pytest.mark.usefixtures("shared_test_connection")
@pytest.mark.parametrize(("arguments", "result", "left"), [([], "1 deleted", 1), (["--dry-run"], "1 would be deleted", 2)])
def test_deletes_expired_data_or_only_counts_it(arguments: list[str], result: str, left: int) -> None:
    stored(timedelta(days=31))
    stored(timedelta(days=1))
    output = StringIO()

    call_command("prune", *arguments, stdout=output)

    lines = output.getvalue().splitlines()
    assert lines[0] == f"bodies of emails: {result}"
    assert len(lines) == 8
    assert RawMessage.objects.count() == left
