"""Functions that render templates in tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from project.mail_templates.liquid import CompiledTemplate, EmailParts, TemplateErrorType, TemplateInvalid


def render_text(source: str, /, **variables: Any) -> str:
    """Render a template that has only a text part."""
    return CompiledTemplate(EmailParts(text=source)).render(variables).text


def render_html(source: str, /, **variables: Any) -> str:
    """Render a template that has only an HTML part."""
    return CompiledTemplate(EmailParts(html=source)).render(variables).html


@contextmanager
def expect_template_invalid(kind: TemplateErrorType, message: str = ".") -> Iterator[None]:
    """Expect that the block raises `TemplateInvalid` of this kind."""
    with pytest.raises(TemplateInvalid, match=message) as caught:
        yield
    assert caught.value.kind == kind, caught.value.detail
