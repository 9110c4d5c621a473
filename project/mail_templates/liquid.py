"""The parts of a mail as templates in Liquid: what is wrong with one is told with its part and line. HTML alone escapes. Pure."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Literal

from liquid.exceptions import LiquidError, LiquidSyntaxError, ResourceLimitError, UndefinedError, UnknownFilterError

from project.errors import DomainError
from project.mail_templates.render_budget import OBJECT_SIZE, RenderBudget
from project.mail_templates.sandbox import SandboxedContext, SandboxedEnvironment

MAX_VARIABLES_SIZE = 1024 * 1024  # characters, of all variables together
MAX_VARIABLES_DEPTH = 32  # of lists and objects in each other
MAX_ERROR_LENGTH = 300  # characters of what is told: it may quote values
MAX_SUBJECT_LENGTH = 998  # characters: RFC 5322 section 2.1.1

TemplateErrorType = Literal["template_syntax", "template_variable", "template_limit", "template_value"]

_TEXT_ENVIRONMENT, _HTML_ENVIRONMENT = SandboxedEnvironment(), SandboxedEnvironment(autoescape=True)


class TemplateInvalid(DomainError):
    """A template cannot be read, or not be rendered with these variables. Says which part, and what is wrong with it."""

    code = "template_invalid"

    def __init__(self, problem: str, *, part: str, line: int | None = None, kind: TemplateErrorType = "template_value") -> None:
        super().__init__(
            f"{part}, line {line}: {problem[:MAX_ERROR_LENGTH]}" if line else f"{part}: {problem[:MAX_ERROR_LENGTH]}"
        )
        self.part = part
        self.kind = kind


@dataclass(frozen=True)
class EmailParts:
    """The parts of a mail: their sources, or what became of them. An empty one is not there."""

    subject: str = ""
    text: str = ""
    html: str = ""


class CompiledTemplate:
    """A template that was read, to be rendered any number of times. Raises `TemplateInvalid`."""

    def __init__(self, sources: EmailParts) -> None:
        self.sources = sources
        self._templates = {}
        for part, source in asdict(sources).items():
            with _as_template_error(part, source):
                self._templates[part] = (_HTML_ENVIRONMENT if part == "html" else _TEXT_ENVIRONMENT).parsed(source)

    def render(self, variables: Mapping[str, object], *, without: Collection[str] = ()) -> EmailParts:
        """What the parts become with these variables, but those that are not wanted. Raises `TemplateInvalid`."""
        ration = RenderBudget()
        return EmailParts(**{part: self._rendered(part, variables, ration) for part in self._templates if part not in without})

    def _rendered(self, part: str, variables: Mapping[str, object], ration: RenderBudget) -> str:
        template = self._templates[part]
        context = SandboxedContext(template, variables, ration)
        buffer = context.get_buffer()
        with _as_template_error(part, getattr(self.sources, part)):
            template.render_with_context(context, buffer)
        output = buffer.getvalue()
        if "\0" in output:
            raise TemplateInvalid("a NUL character", part=part)
        if part == "subject" and ("\r" in output or "\n" in output or len(output) > MAX_SUBJECT_LENGTH):
            raise TemplateInvalid(f"not one line of up to {MAX_SUBJECT_LENGTH} characters", part=part)
        return output


@contextmanager
def _as_template_error(part: str, source: str) -> Iterator[None]:
    """Whatever goes wrong is `TemplateInvalid`."""
    try:
        yield
    except LiquidError as error:
        raise TemplateInvalid(str(error.message), part=part, line=_line_of(error, source), kind=_error_type(error)) from error
    except Exception as error:
        raise TemplateInvalid("it has a value that cannot be used like this", part=part) from error


def _line_of(error: LiquidError, source: str) -> int | None:
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
    """The variables, if they are not too deep, not too large, Unicode, and numbers of JSON; else a ValueError, which says why."""
    level: list[object] = [variables]
    size, finite = 0, True
    for _ in range(MAX_VARIABLES_DEPTH):
        texts = [value for value in level if isinstance(value, str)]
        size += OBJECT_SIZE * len(level) + sum(map(len, texts))
        if size > MAX_VARIABLES_SIZE:
            raise ValueError(f"Variables have together up to {MAX_VARIABLES_SIZE} characters.")
        _check_unicode("".join(texts))
        finite = finite and all(isfinite(value) for value in level if isinstance(value, float))
        level = [inner for value in level if isinstance(value, dict | list) for inner in _children(value)]
    if level:
        raise ValueError(f"Lists and objects lie up to {MAX_VARIABLES_DEPTH} deep in each other.")
    if not finite:
        raise ValueError(
            f"{next(_find_non_finite(variables, ''))[:MAX_ERROR_LENGTH]} is no number of JSON: it is infinite, or none at all."
        )
    return variables


def _children(value: dict[str, object] | list[object]) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    else:
        yield from value


def _find_non_finite(value: object, place: str) -> Iterator[str]:
    """Where numbers are that Python's reader takes and JSON does not have, or that are too large for it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _find_non_finite(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _find_non_finite(inner, f"{place}[{index}]")
    elif isinstance(value, float) and not isfinite(value):
        yield place


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("A text of the variables holds half a surrogate pair.") from None  # JSON can carry it, UTF-8 cannot
