"""Liquid that may come from anyone: a template sees nothing but its variables, takes no long time and little memory.
Pure, but for the clock that stops it.

python-liquid limits nesting, loops and output. What it leaves open is closed here: what a single filter makes, how far a
range goes, the time, and text that its regular expressions take quadratic time to read.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from liquid import BoundTemplate, Environment, Expression, Node, RenderContext, Token, is_undefined
from liquid.builtin.expressions import FilteredExpression, LoopExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import (
    FilterArgumentError,
    LiquidError,
    LiquidSyntaxError,
    LiquidTypeError,
    ResourceLimitError,
    UndefinedError,
)
from liquid.output import LimitedStringIO
from liquid.token import TOKEN_TAG
from liquid.utils import ReadOnlyChainMap

from project.mail_templates.render_budget import RenderBudget, size_of

MAX_OUTPUT_BYTES = 1024 * 1024  # bytes
MAX_RANGE = MAX_LOOP_ITERATIONS = 10_000

MAX_SOURCE_LENGTH = 256 * 1024  # characters
MAX_MARKUP_LENGTH, MAX_TAG_LENGTH = 32 * 1024, 4_000  # characters of all tags and outputs together, and of one
_OPENING = re.compile(r"\{\{|\{%-?\s*(?:(?P<raw>raw|doc)\s*-?%\}|[#\w])|(?P<nameless>\{%)")
_SLOW = re.compile(r"\s{101}|(?:[(\[][^(\[]*){51}")

_MISSING = object()


class SandboxedContext(RenderContext):
    """What a template sees: its variables, and what it assigned. One that is not there is an error, not an empty text."""

    def __init__(self, template: BoundTemplate, variables: Mapping[str, object], ration: RenderBudget) -> None:
        self.ration = ration
        super().__init__(template, globals=variables)
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)

    @property
    def disabled_tags(self) -> list[str]:  # each node asks for them before it renders: all pass here
        """None; but it is time to look at the clock."""
        self.ration.check_time()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        pass

    def get(self, path: list[object], *, token: Token | None, default: object = _MISSING) -> object:
        """The value at a path."""
        self.ration.check_time(token)
        value = super().get(path, token=token, default=default)
        if value is _MISSING or is_undefined(value):
            name = "".join(f".{segment}" if isinstance(segment, str) else f"[{segment}]" for segment in path)
            raise UndefinedError(f"unknown variable '{name.removeprefix('.')}'", token=token)
        return value

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """A filter that takes from the ration."""
        return partial(self._filtered, super().filter(name, token), name, token)

    def _filtered(
        self, function: Callable[..., object], name: str, token: Token | None, value: object, *args: object, **options: object
    ) -> object:
        self.ration.check_time(token)
        self.ration.take_for_filter(name, (value, *args, *options.values()), token)
        try:
            made = function(value, *args, **options)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, LiquidError) as error:
            if isinstance(error, LiquidError) and not isinstance(error.__cause__, TypeError):
                raise
            message = f"{name} cannot take such a value or arguments"  # the error's own text is Python's, for programmers
            raise FilterArgumentError(message, token=token) from error
        self.ration.take_value(made, token)
        return made

    def get_buffer(self, buf: object = None) -> LimitedStringIO:
        """A buffer that takes from the ration."""
        return _Buffer(self.ration)

    def cycle(self, key: object, length: int) -> int:
        """Where in a cycle we are. Their names are kept, and so are taken from the ration."""
        self.ration.take(size_of(key))
        return super().cycle(key, length)


class _Buffer(LimitedStringIO):
    def __init__(self, ration: RenderBudget) -> None:
        super().__init__(MAX_OUTPUT_BYTES)
        self._ration = ration

    def write(self, text: str) -> int:
        self._ration.take(len(text))
        return super().write(text)


# What is read


class _Template(BoundTemplate):
    def make_partial_namespace(self, partial: bool, render_args: Mapping[str, object]) -> Mapping[str, object]:
        return render_args  # the library adds a variable of its own, which would hide one of the same name


class SandboxedEnvironment(Environment):
    """Liquid without tags that load other templates, and without text that takes long to read."""

    block_nesting_limit = context_depth_limit = 30
    loop_iteration_limit = MAX_LOOP_ITERATIONS
    output_stream_limit = MAX_OUTPUT_BYTES
    template_class = _Template

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """All of Liquid's, but `include` and `render`."""
        super().setup_tags_and_filters(extra=extra)
        del self.tags["include"], self.tags["render"]

    def error(self, exc: Any, msg: str | None = None, token: Token | None = None) -> None:
        """Raise it. If it is at the end of an expression, it is told as the place of its tag."""
        if isinstance(exc, LiquidError) and exc.token is not None and exc.token.start_index < 0:
            exc.token = token
        super().error(exc, msg, token)

    def parsed(self, source: str) -> BoundTemplate:
        """The template. Raises LiquidError."""
        _check_markup(source)
        template = self.from_string(source)
        for expression in _expressions(template):
            _restrict(expression, self)
        return template


def _check_markup(source: str) -> None:
    if len(source) > MAX_SOURCE_LENGTH:
        raise LiquidSyntaxError(f"longer than {MAX_SOURCE_LENGTH} characters", token=None)
    left, opening = MAX_MARKUP_LENGTH, _OPENING.search(source)
    while opening is not None:
        end = _end_of(opening, source)
        left -= 0 if opening["raw"] else end - opening.start()
        if complaint := _markup_error(opening, end) or (
            f"more than {MAX_MARKUP_LENGTH} characters of tags and outputs" if left < 0 else None
        ):
            raise LiquidSyntaxError(complaint, token=Token(TOKEN_TAG, opening[0], opening.start(), source))
        opening = _OPENING.search(source, end + 2)


def _end_of(opening: re.Match[str], source: str) -> int:
    """Where what closes it begins, or -1."""
    if not opening["raw"]:
        return source.find("}}" if opening[0] == "{{" else "%}", opening.start() + 2)
    closing = re.compile(rf"\{{%-?\s*end{opening['raw']}\s*-?(?=%\}})").search(source, opening.end())
    return closing.end() if closing else -1


def _markup_error(opening: re.Match[str], end: int) -> str | None:
    if opening["nameless"]:
        return "a tag without a name"
    if end < 0:
        return "a tag or output that is not closed"
    if opening["raw"]:
        return None
    if end - opening.start() > MAX_TAG_LENGTH:
        return f"a tag or output of more than {MAX_TAG_LENGTH} characters"
    return "more than 100 spaces or 50 brackets in a tag" if _SLOW.search(opening.string, opening.start(), end) else None


def _expressions(template: BoundTemplate) -> Iterator[Expression]:
    """All that are in a template, wherever."""
    context = RenderContext(template)
    waiting: list[Node | Expression] = list(template.nodes)
    while waiting:
        found = waiting.pop()
        if isinstance(found, Expression):
            yield found
            waiting.extend(found.children())
        else:
            waiting.extend(found.expressions())
            waiting.extend(found.children(context, include_partials=False))


def _restrict(expression: Expression, env: Environment) -> None:
    if isinstance(expression, RangeLiteral):
        expression.__class__ = _Range  # the parser makes no other
    elif isinstance(expression, LoopExpression):
        expression.__class__ = _Loop  # likewise
    elif isinstance(expression, FilteredExpression) and expression.filters:
        for each in expression.filters:
            each.validate_filter_arguments(env)
        if expression.filters[0].name == "default":
            expression.left = _Optional(expression.left)


class _Range(RangeLiteral):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> range:
        found = super().evaluate(context)
        if found.stop - found.start > MAX_RANGE:
            raise ResourceLimitError(f"a range of more than {MAX_RANGE}", token=self.token)
        return found


class _Loop(LoopExpression):
    __slots__ = ()

    def _slice(self, *args: Any, **options: Any) -> tuple[Iterator[object], int]:
        try:
            return super()._slice(*args, **options)
        except ValueError as error:
            raise LiquidTypeError("a limit or an offset below zero", token=self.token) from error


class _Optional(Expression):
    """What has a default, and so may be unknown."""

    __slots__ = ("of",)

    def __init__(self, of: Expression) -> None:
        super().__init__(of.token)
        self.of = of

    def evaluate(self, context: RenderContext) -> object:
        try:
            return self.of.evaluate(context)
        except UndefinedError:
            return None

    def children(self) -> list[Expression]:
        return [self.of]
