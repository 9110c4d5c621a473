"""The CSS inliner."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from project.emails.mime.builder import Draft, build_message
from project.emails.mime.css_cost import MAX_ELEMENTS
from project.emails.mime.css_inliner import MAX_HTML_LENGTH, inline_css

RED = "<style>p{color:red}</style>"
STYLED = re.compile(r'<p[^>]* style="color: red;"')


@pytest.fixture
def stylesheet_server() -> Iterator[tuple[str, list[str]]]:
    """Run a web server for style sheets. Return its URL, and a list of the paths that clients requested."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/css")
            self.end_headers()
            self.wfile.write(b"p{color:red}")

        def log_message(self, *args: object) -> None:
            """Suppress the request log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", paths
        finally:
            server.shutdown()
            thread.join()


def test_copies_a_rule_into_a_style_attribute() -> None:
    html = f'<!DOCTYPE html>\n<html lang="en"><head>{RED}</head><body><p class="a">Grüße&nbsp;&amp; <b>more</b></p></body></html>'

    assert inline_css(html).replace("\n", "") == html.replace("\n", "").replace('class="a"', 'class="a" style="color: red;"')


def test_keeps_the_style_element_for_media_queries_and_hover() -> None:
    style = "<style>a{color:red} a:hover{color:blue} @media (max-width:9em){a{color:green}}</style>"

    html = inline_css(f"{style}<a>x</a>")

    assert style in html
    assert '<a style="color: red;">x</a>' in html


def test_an_elements_own_style_wins() -> None:
    assert '<p style="color: blue">' in inline_css(f'{RED}<p style="color: blue">x</p>')


@pytest.mark.parametrize(
    "html",
    [
        "",
        "Hi",
        "<p class=a>Hi<br/>\r\n&copy; <P>Ho",
        "<tr><td>a</td></tr>",
        "<styled>a</styled>",
        "<!-- <style>p{color:red}</style> --><p>a",
        "<!--[if mso]><style>p{color:red}</style><![endif]--><p>a</p>",
        "<p>a</p><!-- <style>",
        '<p style="color:red">&lt;style></p>',
    ],
)
def test_leaves_html_without_a_style_element_unchanged(html: str) -> None:
    assert inline_css(html) == html


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (f"{RED}<p>one<p>two", ["one", "two"]),
        (f"<p>one</p>{RED}<p>two</p>", ["one", "two"]),
        (f"<div><p>one</p>{RED}</div>", ["one"]),
        ("<!-- a --><P>one</P><!-- b --><STYLE>P{color:red}</STYLE>", ["one"]),
        ("<p>one</p><style>p{color:red}", ["one"]),
        (f"<p>{RED}one</p>end", [f"{RED}one"]),
    ],
)
def test_keeps_all_content_of_a_fragment(html: str, expected: list[str]) -> None:
    result = inline_css(html)

    assert re.findall(r'<p style="color: red;">(.*?)</p>', result) == expected
    assert result.endswith("</body></html>")
    assert ("end" in result, "<!-- b -->" in result) == ("end" in html, "<!-- b -->" in html)


@pytest.mark.parametrize(
    "css",
    [
        "}",
        "p{",
        "p{color",
        "p{color:red;;;}}",
        "{}{}",
        "@",
        "@import",
        "@media {",
        "p{color:rgb(((",
        '"',
        "/*",
        "<!--",
        "\\",
        "p[",
        "::",
        "é🎉{}",
    ],
)
def test_malformed_css_does_not_fail(css: str) -> None:
    html = inline_css(f"<style>{css}</style><p>Hi</p>")

    assert f"<style>{css}</style>" in html
    assert re.search(r"<p[^>]*>Hi</p>", html)


def test_leaves_html_with_a_malformed_style_attribute_unchanged() -> None:
    html = f"{RED}<p style=\"@charset 'x'!\">Hi</p>"

    assert inline_css(html) == html


@pytest.mark.parametrize(
    "attribute",
    ["media=print", 'media="(max-width:9em)"', 'media="screen and (color)"', "type='text/css' MEDIA = 'all and (color)'"],
)
def test_does_not_inline_a_style_for_other_media(attribute: str) -> None:
    html = inline_css(f"<style {attribute}>p{{color:red}}</style><p>Hi</p>")

    assert "<p>Hi</p>" in html
    assert "p{color:red}" in html


@pytest.mark.parametrize("attribute", ["media=screen", 'media="all"', "media = ' all '", "type=text/css", "data-media=print"])
def test_inlines_a_style_for_all_screens(attribute: str) -> None:
    assert STYLED.search(inline_css(f"<style {attribute}>p{{color:red}}</style><p>Hi</p>"))


@pytest.mark.parametrize("attribute", ["media=", "media"])
@pytest.mark.timeout(10)
def test_many_spaces_in_a_style_element_take_linear_time(attribute: str) -> None:
    assert inline_css(f"<style {attribute}{' ' * 190_000}all>p{{color:red}}</style><p>Hi</p>").endswith("</body></html>")


@pytest.mark.parametrize(
    "doctype",
    [
        '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">',
        "\n<!doctype\nhtml>",
        "",
    ],
)
def test_keeps_the_doctype(doctype: str) -> None:
    html = inline_css(f"{doctype}<html><head>{RED}</head><body><p>&lt;!doctype html></p></body></html>")

    assert html.startswith(f"{doctype}<html><head>")
    assert STYLED.search(html)


def test_keeps_outlooks_conditional_comments() -> None:
    conditions = "<!--[if mso]><b>a</b><![endif]--><!--[if !mso]><!--><i>b</i><!--<![endif]--><![if !mso]><u>c</u><![endif]>"

    assert conditions in inline_css(f"<p>{conditions}</p>{RED}")


def test_makes_no_network_requests(stylesheet_server: tuple[str, list[str]]) -> None:
    url, paths = stylesheet_server
    linked = f'<link rel="stylesheet" href="{url}/a.css"><link rel="stylesheet" href="//{url[7:]}/b.css">'
    imported = f'<style>@import url("{url}/c.css"); p{{background:url({url}/d.png)}}</style>'

    html = inline_css(f"<head><base href='{url}/'>{linked}<link rel=stylesheet href=e.css>{imported}</head><p>Hi</p>")

    assert paths == []
    assert linked in html
    assert imported in html
    assert "color: red" not in html


def test_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.css").write_text("p{color:red}")
    monkeypatch.chdir(tmp_path)
    hrefs = ["a.css", "./a.css", f"{tmp_path}/a.css", f"file://{tmp_path}/a.css"]

    html = inline_css("".join(f'<link rel="stylesheet" href="{href}">' for href in hrefs) + "<style>b{}</style><p>Hi</p>")

    assert "<p>Hi</p>" in html
    assert all(f'href="{href}"' in html for href in hrefs)


def test_leaves_html_with_too_many_rules_unchanged() -> None:
    for sheet in ("".join(f"*{{--a{number}:c}}" for number in range(11_000)), "*," * 90_000 + "p{color:red}"):
        html = f"<style>{sheet}</style>" + "<p>" * 1900
        assert inline_css(html) == html


CUSTOM_PROPERTIES = "".join(f"--property-{number}:{number};" for number in range(180))


@pytest.mark.parametrize(
    "html",
    [
        f"<style>*{{{CUSTOM_PROPERTIES}}}</style>" + "<i>x</i>" * 990,
        f"<style>p,p,p,p,.x{{{CUSTOM_PROPERTIES}}}</style>" + "<p class='y x'>x</p>" * 20,
        f"<style>[class]{{{CUSTOM_PROPERTIES}}}</style>" + "<p class=x>x</p>" * 500,
        f"<style>div p{{{CUSTOM_PROPERTIES}</style>" + "<div>" + "<p>x" * 500,
        RED + "<p>" + "".join(f"<b {number}>" for number in range(900)) + "x" + "</p><p>x" * 900,
        RED + "".join(f"<p a={number}><b b={number}>" for number in range(900)),
        RED + "<div>" + "".join(f"<div><font {number}></div>" for number in range(600)),
        "<style>"
        + "".join(f":not(p .x{number}, div ~ .y{number}){{color:red}}" for number in range(300))
        + "</style>"
        + "<p>x" * 900,
        f"{RED}<p {' '.join(f'a{number}' for number in range(25_000))}>x",
        "<style>" + ".x{}" * 45_000 + "</style><p>x",
        "<style>"
        + "".join(f".x{n}{{a{n}:1}}" for n in range(4_000))
        + f"</style><p class='{' '.join(f'x{n}' for n in range(900))}'>x" * 9,
    ],
    ids=range(11),
)
def test_html_that_would_multiply_stays_as_it_came(html: str) -> None:
    assert inline_css(html) == html


@pytest.mark.parametrize("count", [30, 300])
def test_inlining_multiplies_the_html_by_4_at_most(count: int) -> None:
    html = "<style>p{" + "color:red;" * 2 + "margin:0 auto}</style>" + "<p>x" * count

    assert len(html) < len(inline_css(html)) <= 4 * len(html) or inline_css(html) == html


def test_inlines_html_with_formatting_around_a_table() -> None:
    html = f"{RED}<font face=a><b><table>" + "<tr><td><p>x</p></td></tr>" * 150 + "</table></b></font>"

    assert STYLED.search(inline_css(html))


def test_inlines_the_style_sheet_of_a_newsletter() -> None:
    """Use 16 KB of styles, which is about the limit of Gmail."""
    rules = "".join(f".c{number} td{{padding:{number}px;margin:0 {number}px;width:{number}%}}" for number in range(250))

    assert STYLED.search(inline_css(f"<style>p{{color:red}}{rules}</style>" + "<p>Hi</p>" * 700))


@pytest.mark.parametrize(
    "html", ["<div>" * 50_000, "<b>" * 50_000, "<svg>" * 10_000, "x" * MAX_HTML_LENGTH, "<p>x</p>" * (MAX_ELEMENTS + 1)]
)
def test_leaves_html_that_is_too_large_or_too_deep_unchanged(html: str) -> None:
    assert inline_css(RED + html) == RED + html


@pytest.mark.parametrize("tag", ["<div>", "<b>", "<svg>", "<table><tr><td>"])
def test_inlines_html_of_the_maximum_depth(tag: str) -> None:
    nested = "".join(tag.format(number, number) for number in range((MAX_ELEMENTS - 2) // tag.count("<")))

    assert STYLED.search(inline_css(f"{RED}<p>x</p>{nested}"))


def test_the_builder_inlines_css() -> None:
    draft = Draft(
        sender="a@x.example", to=("b@x.example",), text="Hi", html=f"<html><head>{RED}</head><body><p>Hi</p></body></html>"
    )

    raw = build_message(draft, message_id="<1@x.example>", date=datetime(2026, 12, 1, tzinfo=UTC))

    part = message_from_bytes(raw, policy=policy.default).get_body(("html",))
    assert part is not None
    assert STYLED.search(part.get_content())
