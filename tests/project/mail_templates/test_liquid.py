"""Liquid templates in the sandbox: rendering, error messages, and the limits on time and memory."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from typing import Any

import pytest

from project.mail_templates.liquid import CompiledTemplate, EmailParts, TemplateErrorType, TemplateInvalid, check_variables
from project.mail_templates.render_budget import MAX_STEPS
from project.mail_templates.sandbox import MAX_MARKUP_LENGTH, MAX_OUTPUT_BYTES, MAX_SOURCE_LENGTH, SandboxedEnvironment

MAX_PEAK_MEMORY_BYTES = 100 * 1024 * 1024


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


# Rendering


def test_renders_each_part() -> None:
    parts = CompiledTemplate(EmailParts("S {{ a }}", "T {{ a }}", "H {{ a }}")).render({"a": 1})

    assert parts == EmailParts("S 1", "T 1", "H 1")


def test_does_not_render_a_part_that_is_excluded() -> None:
    assert CompiledTemplate(EmailParts("{{ unknown }}", "T")).render({}, without={"subject"}) == EmailParts("", "T")


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("{% for i in items %}{{ forloop.index }}{{ i.n }}{% unless forloop.last %},{% endunless %}{% endfor %}", "1a,2b"),
        ("{% if items.size == 2 %}two{% else %}other{% endif %}", "two"),
        ("{% case name %}{% when 'Ada' %}A{% else %}?{% endcase %}", "A"),
        ("{% assign x = name | upcase | append: '!' %}{{ x }}", "ADA!"),
        ("{% capture x %}<{{ name }}>{% endcapture %}{{ x }}{{ x }}", "<Ada><Ada>"),
        ("{% for i in (1..3) %}{% cycle 'a', 'b' %}{% endfor %}", "aba"),
        ("{% liquid\n assign a = 1\n echo a\n%}", "1"),
        ("{% raw %}{{ name }}{% endraw %}{% comment %}{{ unknown }}{% endcomment %}", "{{ name }}"),
        ("{{ items | map: 'n' | join: '-' }} {{ 'b,a,b' | split: ',' | uniq | sort | join }}", "a-b a b"),
        (
            "{{ name | replace: 'a', 'o' }} {{ '2026-11-24' | date: '%d.%m.%Y' }} {{ '<b>x</b>' | strip_html }}",
            "Ado 24.11.2026 x",
        ),
        (
            "{% tablerow i in (1..2) %}{{ i }}{% endtablerow %}",
            '<tr class="row1">\n<td class="col1">1</td><td class="col2">2</td></tr>\n',
        ),
        ("{{ unknown | default: 'friend' }} {{ name.first | default: 'none' | upcase }}", "friend NONE"),
        ("{{ partial }}", "mine"),
        ("{{ nothing }}{{ yes }}", "true"),
    ],
)
def test_renders_tags_filters_and_variables(source: str, rendered: str) -> None:
    variables = {"name": "Ada", "items": [{"n": "a"}, {"n": "b"}], "partial": "mine", "nothing": None, "yes": True}

    assert render_text(source, **variables) == rendered


def test_an_unknown_variable_is_an_error_wherever_it_is_used() -> None:
    for source in (
        "{{ x }}",
        "{{ x.y }}",
        "{{ a.x }}",
        "{% if x %}{% endif %}",
        "{% if x == 1 %}{% endif %}",
        "{% case x %}{% when 1 %}{% endcase %}",
        "{% for i in x %}{% endfor %}",
        "{% cycle x: 1 %}",
        "{{ a | append: x }}",
        "{{ x | upcase | default: 'a' }}",
        "{{ a | default: x }}",
        "{{ (1..x) | size }}",
    ):
        with expect_template_invalid("template_variable", r"unknown variable '[\w.]*x[\w.]*'"):
            render_text(source, a={})


# HTML


def test_escapes_variables_in_html_only() -> None:
    parts = CompiledTemplate(EmailParts("{{ a }}", "{{ a }}", "<p>{{ a }}</p>")).render({"a": "<&\"'>"})

    assert parts == EmailParts("<&\"'>", "<&\"'>", "<p>&lt;&amp;&#34;&#39;&gt;</p>")


@pytest.mark.parametrize("name", sorted(SandboxedEnvironment().filters.keys() - {"safe"}))
@pytest.mark.parametrize("argument", ["", ": 2", ": a", ": '<p>'", ": '&lt;', a", ": a, a"])
def test_no_filter_bypasses_the_escaping_of_variables(name: str, argument: str) -> None:
    source = f"{{{{ a | {name}{argument} }}}}{{{{ b | {name}{argument} }}}}{{{{ a | {name}{argument} | {name}{argument} }}}}"

    try:
        rendered = render_html(source, a="<script>&lt;script&gt;", b=["<script>", "%3Cscript%3E", "PHNjcmlwdD4="])
    except TemplateInvalid:
        return
    assert "<script" not in rendered


def test_the_safe_filter_disables_escaping() -> None:
    assert render_html("{{ a | safe }}", a="<b>") == "<b>"


def test_does_not_escape_captured_text_twice() -> None:
    assert render_html("{% capture x %}<i>{{ a }}</i>{% endcapture %}{{ x }}", a="<b>") == "<i>&lt;b&gt;</i>"


# Errors


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n\n{{ user.nick }}", "text, line 3: unknown variable 'user.nick'"),
        (
            "a\n{% for i in (1..3) %}\n{{ i }}\n{% if items[5] %}{% endif %}{% endfor %}",
            "text, line 4: unknown variable 'items[5]'",
        ),
        ("{% liquid\n assign a = 1\n echo b\n%}", "text, line 3: unknown variable 'b'"),
        ("{{ now }}", "text, line 1: unknown variable 'now'"),
        ("{{ user.__class__ }}", "text, line 1: unknown variable 'user.__class__'"),
        ("{{ items.append }}", "text, line 1: unknown variable 'items.append'"),
    ],
)
def test_names_an_unknown_variable_and_its_line(source: str, message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        render_text(source, user={}, items=[1])

    assert (caught.value.detail, caught.value.part, caught.value.kind) == (message, "text", "template_variable")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a\n{{ x | }}\nb", "line 2: expected word"),
        ("a\n{{ x", "line 2: unclosed tag or output"),
        ("{% raw %}\n{% endra %}", "line 1: unclosed tag or output"),
        ("a\n{% if x %}\n\nb", "line 4: .*endif"),
        ("\n{{ }}", "line 2: expected a primitive"),
        ("\n{% %}", "line 2: tag without a name"),
        ("\n{% nope %}", "line 2: unexpected tag 'nope'"),
        ("\n{% include 'a' %}", "line 2: unexpected tag 'include'"),
        ("\n{% render 'a' %}", "line 2: unexpected tag 'render'"),
        ("\n{% if x == 1 %}{{ x | nope: 1 }}{% endif %}", "line 2: unknown filter 'nope'"),
        ("{% if x ! 1 %}{% endif %}", "line 1: unknown operator"),
    ],
)
def test_names_the_line_of_a_syntax_error(source: str, message: str) -> None:
    with expect_template_invalid("template_syntax", f"html, {message}"):
        CompiledTemplate(EmailParts(text="fine", html=source))


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 | divided_by: 0 }}",
        "{{ 'x' | replace }}",
        "{{ '1e400' | ceil }}",
        "{{ 'a' | base64_decode }}",
        "{{ '1e999999' | date: '%Y' | plus: x }}{{ x | first | sum: 'a' }}{{ y | sum }}",
        "{% for i in (1..3) %}{% for j in forloop %}{% endfor %}{% endfor %}",
        "{{ '%00' | url_decode }}",
    ],
)
def test_reports_a_value_that_cannot_be_rendered(source: str) -> None:
    with expect_template_invalid("template_value", "^text"):
        render_text(source, x=[1], y=["1e9999999999999"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for i in x limit: -1 %}{% endfor %}", "limit and offset cannot be negative"),
        ("{% tablerow i in x limit: 1 offset: -2 %}{% endtablerow %}", "limit and offset cannot be negative"),
        ("{{ y | sum }}", "sum: invalid value or arguments"),
        ("{{ y | upcase: 1 }}", "upcase: invalid value or arguments"),
        ("{{ x | join: 1 | date: x }}", "date: invalid value or arguments"),
    ],
)
def test_a_value_error_names_the_line_and_hides_the_python_message(source: str, message: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        render_text(f"a\n{source}", x=[1], y="a")

    assert (caught.value.detail, caught.value.kind) == (f"text, line 2: {message}", "template_value")


def test_an_unexpected_exception_hides_the_python_message() -> None:
    with expect_template_invalid("template_value", "text: a value has a type that cannot be used this way"):
        render_text("{% if a contains b %}{% endif %}", a={}, b=[])


@pytest.mark.parametrize("subject", ["{{ a }}\n{{ a }}", "{{ b }}", "{{ c }}"])
def test_rejects_a_subject_that_renders_to_more_than_one_line_or_is_too_long(subject: str) -> None:
    with expect_template_invalid("template_value", "subject: must be a single line"):
        CompiledTemplate(EmailParts(subject)).render({"a": "a", "b": "a\rBcc: eve@example.com", "c": "a" * 999})


def test_an_error_message_is_truncated() -> None:
    with pytest.raises(TemplateInvalid) as caught:
        render_text("{{ x | compact: 'a' }}{{ x | uniq: 'a' }}", x=["y" * 10_000])

    assert len(caught.value.detail) < 350


# Limits


@pytest.mark.parametrize(
    "source",
    [
        "{% assign x = 'aaaaaaaaaa' %}{% for i in (1..99) %}{% assign x = x | append: x %}{% endfor %}",
        "{% assign x = 'aaaaaaaaaa' %}{% for i in (1..99) %}{% assign x = x | prepend: x %}{% endfor %}",
        "{% assign x = 'aaaaaaaaaa' %}{% for i in (1..99) %}{% assign x = x | replace: 'a', x %}{% endfor %}",
        "{% assign x = 'aaaaaaaaaa' %}{% for i in (1..99) %}{% assign x = x | replace: '', x %}{% endfor %}",
        "{% assign x = 'aaaaaaaaaa' | split: '' %}{% for i in (1..99) %}{% assign x = x | concat: x %}{% endfor %}",
        "{% assign x = '' %}{% for i in (1..99) %}{% assign x = x | append: 'aaaa' | split: '' | join: x %}{% endfor %}",
        "{% assign x = '&' %}{% for i in (1..9999) %}{% assign x = x | escape | escape | url_encode %}{% endfor %}",
        "{% assign x = 9999999 %}{% for i in (1..99) %}{% assign x = x | times: x %}{% endfor %}",
        "{% assign x = 'a' %}{% for i in (1..99) %}{% capture x %}{{ x }}{{ x }}{% endcapture %}{% endfor %}",
        "{% for i in (1..9999) %}{% capture x %}{{ big }}{% endcapture %}{% endfor %}",
        "{% for i in (1..9999) %}{% assign x = x | default: big | append: 'x' %}{% cycle x: 1 %}{% endfor %}",
        "{% for i in (1..9999) %}{{ big }}{% endfor %}",
        "{% for i in (1..9999) %}{% ifchanged %}{{ big }}{{ i }}{% endifchanged %}{% endfor %}",
        "{{ '2026-11-24' | date: '" + "%1000000d" * 12 + "' }}",
        "{{ big | date: '%Y' }}",
        "{{ items | uniq }}",
        "{{ items | join: big }}",
        "{{ angles | strip_html }}",
        "{{ wide | split: '' | size }}",
        "{{ wide | url_encode | size }}",
    ],
)
def test_rejects_a_template_that_would_use_too_much_memory(source: str) -> None:
    variables = {"big": "a" * 200_000, "items": list(range(20_000)), "angles": "<" * 100_000 + ">", "wide": "\u4e00" * 200_000}
    tracemalloc.start()

    try:
        with expect_template_invalid("template_limit"):
            render_text(source, **variables)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MAX_PEAK_MEMORY_BYTES


def test_rejects_a_filter_with_a_large_input_or_output() -> None:
    for source in ("{{ large | upcase }}", "{{ '' | append: large }}", "{{ half | append: half }}", "{{ number | plus: 1 }}"):
        with expect_template_invalid("template_limit", "the input or output of a filter is too large"):
            render_text(source, large="a" * 300_000, half="a" * 150_000, number=2**300)


def test_repeated_captures_add_up() -> None:
    with expect_template_invalid("template_limit", "filters and outputs produce more than 8388608 characters in total"):
        render_text("{% for i in (1..50) %}{% capture x %}{{ large }}{% endcapture %}{% endfor %}", large="a" * 200_000)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..1000000000) %}{% endfor %}",
        "{% for i in (1..1000000000) reversed %}{% endfor %}",
        "{% for i in (1..n) offset: 999999990 %}{% endfor %}",
        "{% tablerow i in (1..n) %}{% endtablerow %}",
        "{% if (1..1000000000) contains 'x' %}{% endif %}",
        "{% unless 'x' == (1..n) %}{% endunless %}",
        "{% case (1..n) %}{% when (1..n) %}{% endcase %}",
        "{% case 1 %}{% when (1..n) %}{% endcase %}",
        "{{ (1..1000000000) | join }}",
        "{{ items | concat: (1..n) }}",
        "{% assign x = (1..n) %}{{ x.size }}",
        "{% cycle (1..n) %}",
        "{% capture x %}{% if true and (1..n) contains 1 %}{% endif %}{% endcapture %}",
        "{% liquid\n for i in (1..n)\n echo i\n endfor %}",
        "{% for i in items limit: 1 %}{{ (1..n) | size }}{% else %}{% endfor %}",
        "{{ x | default: (1..n) }}",
    ],
)
def test_rejects_a_long_range_wherever_it_is_used(source: str) -> None:
    with expect_template_invalid("template_limit", "range has more than 10000 items"):
        render_text(source, n=10**9, items=[1])


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..200) %}{% for j in (1..200) %}{% endfor %}{% endfor %}",
        "{% for i in items %}{% tablerow j in items %}{% endtablerow %}{% endfor %}",
        "{% for i in (1..9999) %}" + "{% if true %}{% endif %}" * 1000 + "{% endfor %}",
        "{% for i in (1..9999) %}" + "{{ name }}" * 1000 + "{% endfor %}",
        "{% for i in (1..9999) %}{% if items == others %}{% endif %}{% endfor %}",
        "{% for i in (1..9999) %}{% if " + " and ".join(["items == others"] * 150) + " %}{% endif %}{% endfor %}",
        "{% for i in (1..9999) %}{% assign x = items | sort | reverse | first %}{% endfor %}",
        "{% for i in (1..9999) %}{% if nested == others %}{% endif %}{% endfor %}",
        "{% for i in (1..9999) %}{% if text contains 'zz' %}{% endif %}{% endfor %}",
    ],
)
def test_rejects_a_template_that_is_slow_to_render(source: str) -> None:
    with expect_template_invalid("template_limit"):
        render_text(
            source,
            name="Ada",
            items=list(range(10_000)),
            others=list(range(10_000)),
            nested=[[list(range(10_000))]],
            text="a" * 100_000,
        )


@pytest.mark.parametrize(
    "source",
    [
        "{{" + " " * 200_000 + "}}",
        "{{ " + " " * 3_000 + " }}",
        "{% else" + " " * 3_000 + "%}",
        "{% raw %}" * 20_000,
        "{% comment %}" + "{% raw %}" * 20_000,
        "{% doc %}" * 20_000,
        "{{" * 100_000,
        "{%" * 100_000,
        "{% comment %}" + ("{% !" + "{{" * 900 + "%}") * 130,
        "{% if " + "(" * 3_000 + " %}",
        ("{{ " + "(" * 49 + " " * 99 + " }}") * 200,
        "{{ " + "['" * 1_500 + " }}",
        "{{ a }}" * 30_000,
        "{% if " + "a and " * 600 + "a %}{% endif %}",
        "{% if a %}" * 100,
        "{% liquid " * 400 + "%}",
        "a" * (MAX_SOURCE_LENGTH + 1),
    ],
)
def test_rejects_a_template_that_is_slow_to_parse(source: str) -> None:
    with pytest.raises(TemplateInvalid):
        CompiledTemplate(EmailParts(text=source))


def test_accepts_a_large_template() -> None:
    source = ("<p>" + "x" * 300 + "</p>{% for i in items %}{{ i.name | upcase }}{% endfor %}\n") * 500

    rendered = render_html(source, items=[{"name": "ada"}] * 2)

    assert len(source) > MAX_SOURCE_LENGTH / 2 > MAX_MARKUP_LENGTH
    assert rendered.count("ADA") == 1_000


def test_accepts_output_up_to_the_limit() -> None:
    source = "{% for i in (1..1024) %}{{ line }}{% endfor %}"

    assert len(render_text(source, line="a" * (MAX_OUTPUT_BYTES // 1024))) == MAX_OUTPUT_BYTES
    with expect_template_invalid("template_limit", "output stream limit"):
        render_text(source + "b", line="a" * (MAX_OUTPUT_BYTES // 1024))


def test_all_parts_share_one_limit_of_steps() -> None:
    slow = "{% for i in (1..6000) %}" + "{% if true %}{% endif %}" * 5 + "{% endfor %}"

    with expect_template_invalid("template_limit", f"text, line 1: rendering takes more than {MAX_STEPS} steps"):
        CompiledTemplate(EmailParts(slow, slow, slow)).render({})


# Variables


def nested(levels: int) -> dict[str, object]:
    """Return objects that are nested this many levels deep."""
    return {"a": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (nested(40), "levels deep"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": [{"\udfff": 1}]}, "surrogate"),
        ({"a": ["x" * 600_000] * 2}, "characters"),
        ({"a": [1, {"b": inf}]}, r"a\[1\].b is not a valid JSON number"),
        ({"a": 1.5, "b": -nan}, "b is not a valid JSON number"),
    ],
)
def test_rejects_invalid_variables(variables: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_variables(variables)


def test_accepts_all_json_types() -> None:
    variables: dict[str, object] = {"a": [1, 1.5, "ä😀", None, True, {"b": nested(10)}]}

    assert check_variables(variables) is variables
