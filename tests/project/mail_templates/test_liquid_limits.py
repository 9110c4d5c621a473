"""Limits of Liquid templates on time and memory."""

import tracemalloc

import pytest

from project.mail_templates.liquid import CompiledTemplate, EmailParts, TemplateInvalid
from project.mail_templates.render_budget import MAX_STEPS
from project.mail_templates.sandbox import MAX_MARKUP_LENGTH, MAX_OUTPUT_BYTES, MAX_SOURCE_LENGTH
from tests.project.mail_templates.rendering import expect_template_invalid, render_html, render_text

MAX_PEAK_MEMORY_BYTES = 100 * 1024 * 1024


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
