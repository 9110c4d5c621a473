"""Plain text of HTML: what a reader of the HTML sees, with the URLs of its links."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project.emails.mime.html_to_text import MAX_HTML_LENGTH, html_to_text

NAMED = [
    "region=eu",
    "timestamp=5",
    "currency=1",
    "notify=1",
    "section=2",
    "copy=3",
    "para=4",
    "not_before=5",
    "times=6",
    "center=7",
    "quote=8",
    "ltd=9",
    "amp=1",
]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("<head><title>t</title><style>p{}</style></head><body>Hi<script>x()</script></body>", "Hi"),
        ("<head><style>p{}</style>Hi", "Hi"),
        ("<ul><li>one</li><li>two</li></ul>after", "- one\n- two\nafter"),
        ("<ul>\n <li><p>one</p></li>\n</ul>", "- one"),
        ("<ul><li><p>a</p></li><li><p>b</p></li></ul>", "- a\n\n- b"),
        ("<ol start=3><li>a<li>b<ul><li>c<li>d</ul><li>e</ol>f", "3. a\n4. b\n  - c\n  - d\n5. e\nf"),
        ("<div>a</div><div><div>b</div></div>c<br>d<br/><br>e", "a\nb\nc\nd\n\ne"),
        ("<p>a<p>b<br><br><br>c", "a\n\nb\n\nc"),
        ("a \n\t b&nbsp;c &lt;d&gt; &#8364; &hellip;", "a b\xa0c <d> € …"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<table><tr><td><table><tr><td>in</td></tr></table></td><td>b</td></tr></table>", "in\nb"),
        ("pri<b>ce</b> <i>x</i>y", "price xy"),
        ("a < b &copy 2026", "a < b © 2026"),
        ("<!--[if mso]>outlook<![endif]-->seen<!--[if !mso]><!-->too<!--<![endif]-->", "seentoo"),
        ("<![if mso]>yes<![endif]> <![foo[ bar", "yes"),
        ('<div style="color: red; DISPLAY : none">preheader</div>seen<span hidden>x</span>', "seen"),
        ('<meta charset="windows-1252">é漢🎉', "é漢🎉"),
        ("<pre>\nline 1\n  line 2\n\n\n\nline 5\n</pre>after", "line 1\n  line 2\n\n\n\nline 5\n\nafter"),
        ("<pre>a<br>b  <b>c</b></pre>", "a\nb  c"),
        ("<ul><li><pre>a\r\n b</pre></ul>", "- a\n b"),
        ("<textarea>a\n  b</textarea>c", "a\n  b\n\nc"),
        ('<p style="white-space: pre-wrap">a\n  b</p>c\n d', "a\n  b\n\nc d"),
        ('x <span style="color:red;white-space:pre">a\n b</span> c\n d', "x a\n b c d"),
        ("<ol><li>a<li value=7>b<li>c</ol>", "1. a\n7. b\n8. c"),
        ("<p>a</p><p>&nbsp;</p><p>b</p>", "a\n\nb"),
        ("<table><tr><td>a<tr><td>&nbsp;<tr><td>&zwnj;<tr><td>b</table>", "a\nb"),
        ("<p>Hi &zwnj;&nbsp;&#847;&shy; &zwnj;</p>می&zwnj;خواهم", "Hi\n\nمی\u200cخواهم"),
    ],
)
def test_shows_what_a_reader_sees(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('See <a href="https://x.example/?a=1&amp;b=2">our <b>shop</b></a>!', "See our shop (https://x.example/?a=1&b=2)!"),
        ('<a href="https://x.example">https://x.example</a>', "https://x.example"),
        ('<a href="mailto:a@b.example?subject=x">a@b.example</a> <a href="#top">top</a>', "a@b.example top"),
        ('<a href="HTTPS://x.example/">go</a>', "go (HTTPS://x.example/)"),
        ('<a href="//x.example/p">go</a>', "go (https://x.example/p)"),
        ('<a href="\n https://x.example/a b ">go</a>', "go (https://x.example/a%20b)"),
        ('<a href="tel:+49301234">Call</a>', "Call (tel:+49301234)"),
        ('<a href="javascript:x()">a</a> <a href="cid:logo">b</a> <a href="/c">c</a> <a>d</a>', "a b c d"),
        ('see <a href="https://x.example/">shop', "see shop (https://x.example/)"),
        ("<a href=https://a.example>one<br><a href=https://b.example>two", "one (https://a.example)\ntwo (https://b.example)"),
        ('<a href="https://x.example/" title="a < b > c">go</a> on', "go (https://x.example/) on"),
        ("<a href='https://x.example/'><div>Button</div></a><p>x", "Button (https://x.example/)\n\nx"),
        ('<a href="https://x.example/"><img src="cid:x"></a>', "https://x.example/"),
        (
            "a<a href=https://x.example/><img></a>/b (<a href=https://y.example></a>)",
            "a https://x.example/ /b (https://y.example)",
        ),
        ("<a href=https://x.example><table><tr><td>Buy</table></a><p>now", "Buy (https://x.example)\n\nnow"),
        (
            "<a href=https://x.example> <table><tr><td><a href=https://y.example>Y</a></table>",
            "https://x.example Y (https://y.example)",
        ),
        ("<a href=https://x.example></a><p>x", "https://x.example\n\nx"),
        (
            "<map><area href=https://x.example alt=Shop><area href=https://y.example></map>",
            "Shop (https://x.example) https://y.example",
        ),
    ],
)
def test_keeps_the_urls_of_links(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize("parameter", NAMED)
@pytest.mark.parametrize("quote", ['"', "'", ""])
def test_a_parameter_with_the_name_of_a_character_stays(parameter: str, quote: str) -> None:
    url = f"https://x.example/?a=1&{parameter}&b={parameter}"

    assert html_to_text(f"<a title='a < b' HREF = {quote}{url}{quote}>go</a>") == f"go ({url})"


@pytest.mark.parametrize("parameter", NAMED)
def test_a_parameter_of_a_url_in_the_text_stays(parameter: str) -> None:
    url = f"https://x.example/?a=1&{parameter}&b={parameter}"

    assert html_to_text(f"<p>Visit {url} <a href='{url}'>{url}</a></p>") == f"Visit {url} {url}"


@pytest.mark.parametrize(
    ("base", "href", "url"),
    [
        ("https://x.example/shop/", "cart?a=1&region=2", "https://x.example/shop/cart?a=1&region=2"),
        ("https://x.example/shop/", "/cart", "https://x.example/cart"),
        ("//x.example", "cart", "https://x.example/cart"),
        ("https://x.example", "https://y.example", "https://y.example"),
        ("https://x.example", "#top", ""),
        ("https://x.example", "//[cart", ""),
        ("/shop/", "cart", ""),
    ],
)
def test_a_relative_link_starts_from_the_base(base: str, href: str, url: str) -> None:
    html = f'<head><base href="{base}"></head><a href="{href}">go</a>'

    assert html_to_text(html) == (f"go ({url})" if url else "go")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<img alt="We <3 you" src="x.png"> after', "We <3 you after"),
        ('<img alt="A cat" src="cid:x"><img alt="">', "A cat"),
        (
            "<a href=https://a.example><img alt=A></a><a href=https://b.example><img alt=B></a>",
            "A (https://a.example) B (https://b.example)",
        ),
        ("<a href=https://a.example><img></a><a href=https://b.example><img></a>", "https://a.example https://b.example"),
        ("one<img alt=two>three<img alt=four>", "one two three four"),
    ],
)
def test_shows_the_descriptions_of_images(html: str, text: str) -> None:
    assert html_to_text(html) == text


# Hostile HTML


@pytest.mark.parametrize(
    "html",
    [
        "<b>" * 30_000 + "</i>" * 40_000,
        "<ul><li>" * 20_000 + "</ol>" * 20_000,
        "<p>" + "".join(f"<b {number}>" for number in range(8_000)) + "x" + "</p><p>x" * 10_000,
        "<a " * 100_000,
        '<a href="' * 30_000,
        "<!--" * 60_000,
        "<a href=//x>" * 20_000,
        "<ul><li>x" * 250 * 10,
        "<td>" * 60_000,
        " " * 250_000 + "x",
        "<pre>" + "\n" * 250_000,
        "<p style=white-space:pre>" * 10_000,
        "<area href=//x>" * 15_000,
        "<base href=//x>" + "<a href=y>" * 20_000,
        "<a href=//x><table>" * 10_000,
        "&nbsp;<br>" * 20_000,
        "https://x?" + "&reg" * 60_000,
        "style=';display:" + " " * 200_000,
        "&" * 250_000,
    ],
    ids=lambda html: html[:9],
)
@pytest.mark.timeout(10)
def test_hostile_html_takes_linear_time(html: str) -> None:
    assert len(html_to_text(html)) <= 2 * len(html)


@pytest.mark.parametrize(
    "html", ["<div>" * 10_000 + "deep", "<b>" * 300 + "one<br>two &amp; <i>three</i>", "<table><tr><td>" * 5_000 + "x"]
)
def test_deep_nesting_keeps_the_text(html: str) -> None:
    assert html_to_text(html) in {"deep", "one\ntwo & three", "x"}


@pytest.mark.parametrize("html", ["<p>" * 4_000_000, f"<a {'a ' * 6_000_000}>", f"{'<!-- -->' * 1_500_000}x"])
@pytest.mark.timeout(10)
def test_reads_only_the_start_of_long_html(html: str) -> None:
    assert html_to_text(f"<b>Hi</b>{html}").strip() == "Hi"


def test_long_text_is_kept_up_to_the_maximum() -> None:
    text = "é漢🎉x" * (MAX_HTML_LENGTH // 4)

    assert html_to_text(text + "beyond") == text


pieces = st.sampled_from(
    [
        "<a",
        "href=//x>",
        "</a>",
        "<p>",
        "</p>",
        "<pre>",
        "</pre>",
        "<ul>",
        "<ol>",
        "<li>",
        "</ul>",
        "</ol>",
        "<table>",
        "<td>",
        "<tr>",
        "</table>",
        "<br>",
        "<b>",
        "</i>",
        "<div>",
        "</div>",
        "<script>",
        "</script>",
        "<title>",
        "<head>",
        "<body>",
        "</html>",
        "<svg>",
        "<template>",
        "<textarea>",
        "<select>",
        "<option>",
        "<form>",
        "<!--",
        "-->",
        "<![CDATA[",
        "<?",
        "&lt;",
        "word",
    ]
)


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(st.lists(pieces | st.just("\n"), max_size=20))
def test_any_markup_has_a_text_that_ends_where_it_began(parts: list[str]) -> None:
    html = "".join(parts)

    text = html_to_text(f"<p>first</p>{html}")

    assert text.startswith("first")
    assert text.count("word") <= html.count("word")
