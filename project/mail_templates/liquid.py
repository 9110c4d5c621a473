"""Compile and render the parts of an email as Liquid templates.

Errors name the part and the line. Variables are escaped in the HTML part only. This module does no I/O.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Literal

from liquid.exceptions import LiquidError, LiquidSyntaxError, ResourceLimitError, UndefinedError, UnknownFilterError

from project.emails.mime.headers import check_displayed
from project.errors import DomainError
from project.mail_templates.render_budget import OBJECT_SIZE, RenderBudget, RequestBudget
from project.mail_templates.sandbox import SandboxedContext, SandboxedEnvironment

MAX_VARIABLES_SIZE = 1024 * 1024  # characters of all variables together
MAX_VARIABLES_DEPTH = 32  # levels of nested lists and objects
MAX_ERROR_LENGTH = 300  # characters; an error message may quote values
MAX_SUBJECT_LENGTH = 998  # characters: RFC 5322 section 2.1.1

TemplateErrorType = Literal["template_syntax", "template_variable", "template_limit", "template_value"]

_TEXT_ENVIRONMENT, _HTML_ENVIRONMENT = SandboxedEnvironment(), SandboxedEnvironment(autoescape=True)


class TemplateInvalid(DomainError):
    """The template has an error, or cannot be rendered with these variables. `detail` names the part and the line."""

    code = "template_invalid"

    def __init__(self, problem: str, *, part: str, line: int | None = None, kind: TemplateErrorType = "template_value") -> None:
        super().__init__(
            f"{part}, line {line}: {problem[:MAX_ERROR_LENGTH]}" if line else f"{part}: {problem[:MAX_ERROR_LENGTH]}"
        )
        self.part = part
        self.kind = kind


@dataclass(frozen=True)
class EmailParts:
    """The parts of an email: template sources or rendered text. An empty string means that the part is missing."""

    subject: str = ""
    text: str = ""
    html: str = ""


class CompiledTemplate:
    """A compiled template, which can be rendered any number of times. The constructor raises `TemplateInvalid`."""

    def __init__(self, sources: EmailParts) -> None:
        self.sources = sources
        self._templates = {}
        for part, source in asdict(sources).items():
            with _as_template_error(part, source):
                self._templates[part] = (_HTML_ENVIRONMENT if part == "html" else _TEXT_ENVIRONMENT).compile(source)

    def render(
        self, variables: Mapping[str, object], *, without: Collection[str] = (), request: RequestBudget | None = None
    ) -> EmailParts:
        """Render all parts, except the parts in `without`, with one shared budget. Raises `TemplateInvalid`."""
        budget = RenderBudget(request)
        return EmailParts(**{part: self._render_part(part, variables, budget) for part in self._templates if part not in without})

    def _render_part(self, part: str, variables: Mapping[str, object], budget: RenderBudget) -> str:
        template = self._templates[part]
        context = SandboxedContext(template, variables, budget)
        buffer = context.get_buffer()
        with _as_template_error(part, getattr(self.sources, part)):
            template.render_with_context(context, buffer)
        output = buffer.getvalue()
        if "\0" in output:
            raise TemplateInvalid("output contains a NUL character", part=part)
        if part == "subject":
            _check_subject(output)
        return output


def _check_subject(subject: str) -> None:
    if "\r" in subject or "\n" in subject or len(subject) > MAX_SUBJECT_LENGTH:
        raise TemplateInvalid(f"must be a single line of at most {MAX_SUBJECT_LENGTH} characters", part="subject")
    try:
        check_displayed(subject)
    except ValueError as error:
        raise TemplateInvalid(str(error), part="subject") from error


@contextmanager
def _as_template_error(part: str, source: str) -> Iterator[None]:
    """Turn every exception into `TemplateInvalid`."""
    try:
        yield
    except LiquidError as error:
        raise TemplateInvalid(str(error.message), part=part, line=_line_number(error, source), kind=_error_type(error)) from error
    except Exception as error:
        raise TemplateInvalid("a value has a type that cannot be used this way", part=part) from error


def _line_number(error: LiquidError, source: str) -> int | None:
    if error.token is None:
        return None
    start = error.token.start_index
    return source.count("\n", 0, start if start >= 0 else len(source)) + 1


def _error_type(error: LiquidError) -> TemplateErrorType:
    if isinstance(error, UndefinedError):
        return "template_variable"
    if isinstance(error, LiquidSyntaxError | UnknownFilterError):
        return "template_syntax"
    return "template_limit" if isinstance(error, ResourceLimitError) else "template_value"


def check_variables(variables: dict[str, object]) -> dict[str, object]:
    """Return the variables if they are valid JSON within the limits of size and depth. Raises `ValueError` with the reason."""
    level: list[object] = [variables]
    size, finite = 0, True
    for _ in range(MAX_VARIABLES_DEPTH):
        texts = [value for value in level if isinstance(value, str)]
        size += OBJECT_SIZE * len(level) + sum(map(len, texts))
        if size > MAX_VARIABLES_SIZE:
            raise ValueError(f"Variables can have at most {MAX_VARIABLES_SIZE} characters in total.")
        _check_unicode("".join(texts))
        finite = finite and all(isfinite(value) for value in level if isinstance(value, float))
        level = [inner for value in level if isinstance(value, dict | list) for inner in _children(value)]
    if level:
        raise ValueError(f"Lists and objects can be nested at most {MAX_VARIABLES_DEPTH} levels deep.")
    if not finite:
        path = next(_find_non_finite(variables, ""))
        raise ValueError(f"{path[:MAX_ERROR_LENGTH]} is not a valid JSON number (it is NaN or infinite).")
    return variables


def _children(value: dict[str, object] | list[object]) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    else:
        yield from value


def _find_non_finite(value: object, path: str) -> Iterator[str]:
    """Yield the path of each number that is NaN or infinite. Python's JSON parser accepts NaN and reads 1e999 as infinite."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _find_non_finite(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _find_non_finite(inner, f"{path}[{index}]")
    elif isinstance(value, float) and not isfinite(value):
        yield path


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("A string contains an unpaired surrogate.") from None  # valid in JSON as an escape, but not in UTF-8
