"""Liquid templates in the sandbox: rendering, error messages and variables."""

from math import inf, nan

import pytest

from project.mail_templates.liquid import CompiledTemplate, EmailParts, TemplateInvalid, check_variables
from project.mail_templates.sandbox import SandboxedEnvironment
from tests.project.mail_templates.rendering import expect_template_invalid, render_html, render_text

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
