"""Sandbox for Liquid templates of untrusted authors: a template sees only its variables, and its time and memory are limited.

python-liquid itself limits nesting, loops and output. This module also limits the size of filter results, the length of
ranges and CPU time, and rejects source text that the library's regular expressions would need quadratic time to parse.
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

MAX_OUTPUT_BYTES = 1024 * 1024
MAX_RANGE = MAX_LOOP_ITERATIONS = 10_000

MAX_SOURCE_LENGTH = 256 * 1024  # characters
# In characters: of all tags and outputs together, and of a single tag or output.
MAX_MARKUP_LENGTH, MAX_TAG_LENGTH = 32 * 1024, 4_000
_OPENING = re.compile(r"\{\{|\{%-?\s*(?:(?P<raw>raw|doc)\s*-?%\}|[#\w])|(?P<nameless>\{%)")
_SLOW_TO_PARSE = re.compile(r"\s{101}|(?:[(\[][^(\[]*){51}")

_MISSING = object()


class SandboxedContext(RenderContext):
    """Variables of one rendering: passed in by the caller, or assigned by the template. An unknown variable is an error."""

    def __init__(self, template: BoundTemplate, variables: Mapping[str, object], budget: RenderBudget) -> None:
        self.budget = budget
        super().__init__(template, globals=variables)
        self.scope = ReadOnlyChainMap(self.locals, self.globals, self.counters)

    @property
    def disabled_tags(self) -> list[str]:  # every node reads this before it renders
        """Return an empty list. Counts a step here, because this property is read once for each node."""
        self.budget.count_step()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        pass

    def get(self, path: list[object], *, token: Token | None, default: object = _MISSING) -> object:
        """Return the value at a path. Raises `UndefinedError`."""
        value = super().get(path, token=token, default=default)
        self.budget.count_step(token, size=size_of(value))
        if value is _MISSING or is_undefined(value):
            name = "".join(f".{segment}" if isinstance(segment, str) else f"[{segment}]" for segment in path)
            raise UndefinedError(f"unknown variable '{name.removeprefix('.')}'", token=token)
        return value

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """Return a filter that consumes the budget."""
        return partial(self._call_filter, super().filter(name, token), name, token)

    def _call_filter(
        self, function: Callable[..., object], name: str, token: Token | None, value: object, *args: object, **options: object
    ) -> object:
        self.budget.consume_for_filter(name, (value, *args, *options.values()), token)
        try:
            result = function(value, *args, **options)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, LiquidError) as error:
            if isinstance(error, LiquidError) and not isinstance(error.__cause__, TypeError):
                raise
            message = f"{name}: invalid value or arguments"  # the error's own text is a Python message, unclear to authors
            raise FilterArgumentError(message, token=token) from error
        self.budget.consume_value(result, token)
        return result

    def get_buffer(self, buf: object = None) -> LimitedStringIO:
        """Return an output buffer that consumes the budget."""
        return _Buffer(self.budget)

    def cycle(self, key: object, length: int) -> int:
        """Return the position in a cycle. Consumes the budget, because the context stores the name of each cycle."""
        self.budget.consume(size_of(key))
        return super().cycle(key, length)


class _Buffer(LimitedStringIO):
    def __init__(self, budget: RenderBudget) -> None:
        super().__init__(MAX_OUTPUT_BYTES)
        self._budget = budget

    def write(self, text: str) -> int:
        self._budget.consume(len(text))
        return super().write(text)


# Parsing


class _Template(BoundTemplate):
    def make_partial_namespace(self, partial: bool, render_args: Mapping[str, object]) -> Mapping[str, object]:
        return render_args  # the library would add its own variable `partial`, which hides an author's variable of that name


class SandboxedEnvironment(Environment):
    """Liquid without the tags that load other templates. Rejects source text that is slow to parse."""

    block_nesting_limit = context_depth_limit = 30
    loop_iteration_limit = MAX_LOOP_ITERATIONS
    output_stream_limit = MAX_OUTPUT_BYTES
    template_class = _Template

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Register everything except the tags `include` and `render`."""
        super().setup_tags_and_filters(extra=extra)
        del self.tags["include"], self.tags["render"]

    def error(self, exc: Any, msg: str | None = None, token: Token | None = None) -> None:
        """Raise an error. An error at the end of an expression has no position, so it gets the position of its tag."""
        if isinstance(exc, LiquidError) and exc.token is not None and exc.token.start_index < 0:
            exc.token = token
        super().error(exc, msg, token)

    def compile(self, source: str) -> BoundTemplate:
        """Parse a template and restrict its expressions. Raises `LiquidError`."""
        _check_markup(source)
        template = self.from_string(source)
        for expression in _expressions(template):
            _restrict(expression, self)
        return template


def _check_markup(source: str) -> None:
    if len(source) > MAX_SOURCE_LENGTH:
        raise LiquidSyntaxError(f"template is longer than {MAX_SOURCE_LENGTH} characters", token=None)
    left, opening = MAX_MARKUP_LENGTH, _OPENING.search(source)
    while opening is not None:
        end = _closing_position(opening, source)
        left -= 0 if opening["raw"] else end - opening.start()
        if problem := _markup_error(opening, end) or (
            f"tags and outputs are longer than {MAX_MARKUP_LENGTH} characters in total" if left < 0 else None
        ):
            raise LiquidSyntaxError(problem, token=Token(TOKEN_TAG, opening[0], opening.start(), source))
        opening = _OPENING.search(source, end + 2)


def _closing_position(opening: re.Match[str], source: str) -> int:
    """Return where the closing delimiter starts, or -1 if there is none."""
    if not opening["raw"]:
        return source.find("}}" if opening[0] == "{{" else "%}", opening.start() + 2)
    closing = re.compile(rf"\{{%-?\s*end{opening['raw']}\s*-?(?=%\}})").search(source, opening.end())
    return closing.end() if closing else -1


def _markup_error(opening: re.Match[str], end: int) -> str | None:
    if opening["nameless"]:
        return "tag without a name"
    if end < 0:
        return "unclosed tag or output"
    if opening["raw"]:
        return None
    if end - opening.start() > MAX_TAG_LENGTH:
        return f"tag or output is longer than {MAX_TAG_LENGTH} characters"
    if _SLOW_TO_PARSE.search(opening.string, opening.start(), end):
        return "tag or output has more than 100 spaces in a row, or more than 50 brackets"
    return None


def _expressions(template: BoundTemplate) -> Iterator[Expression]:
    """Yield all expressions of a template, at any depth."""
    context = RenderContext(template)
    stack: list[Node | Expression] = list(template.nodes)
    while stack:
        item = stack.pop()
        if isinstance(item, Expression):
            yield item
            stack.extend(item.children())
        else:
            stack.extend(item.expressions())
            stack.extend(item.children(context, include_partials=False))


def _restrict(expression: Expression, env: Environment) -> None:
    if isinstance(expression, RangeLiteral):
        expression.__class__ = _Range  # the parser has no hook to create another class
    elif isinstance(expression, LoopExpression):
        expression.__class__ = _Loop
    elif isinstance(expression, FilteredExpression) and expression.filters:
        for filter_ in expression.filters:
            filter_.validate_filter_arguments(env)
        if expression.filters[0].name == "default":
            expression.left = _Optional(expression.left)


class _Range(RangeLiteral):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> range:
        result = super().evaluate(context)
        if result.stop - result.start > MAX_RANGE:
            raise ResourceLimitError(f"range has more than {MAX_RANGE} items", token=self.token)
        return result


class _Loop(LoopExpression):
    __slots__ = ()

    def _slice(self, *args: Any, **options: Any) -> tuple[Iterator[object], int]:
        try:
            return super()._slice(*args, **options)
        except ValueError as error:
            raise LiquidTypeError("limit and offset cannot be negative", token=self.token) from error


class _Optional(Expression):
    """An expression that may be an unknown variable, because the filter `default` follows it."""

    __slots__ = ("expression",)

    def __init__(self, expression: Expression) -> None:
        super().__init__(expression.token)
        self.expression = expression

    def evaluate(self, context: RenderContext) -> object:
        try:
            return self.expression.evaluate(context)
        except UndefinedError:
            return None

    def children(self) -> list[Expression]:
        return [self.expression]
