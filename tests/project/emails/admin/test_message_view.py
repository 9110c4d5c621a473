"""The page of a message in the admin: its parts, and its HTML in a sandbox."""

from dataclasses import replace
from email.message import EmailMessage

import pytest
from django.core.mail import EmailMultiAlternatives
from django.test import Client

from project.accounts.models import User
from project.admin.html_safety import remove_frames
from project.emails.admin.message_parser import parse_message
from project.emails.mime.builder import Attachment, Draft, build_message
from project.emails.models import Email, RawMessage
from project.events.models import Event
from project.transports.models import MailboxMessage
from tests.project.conftest import NOW, SubmitEmail

DRAFT = Draft(
    sender="Shop <shop@example.com>",
    to=("ada@example.com",),
    subject="Grüße",
    text="Hello Ada",
    html='<img src="cid:the%2Dlogo"><img src="cid:none"><b>Hello Ada</b>',
    headers={"X-Campaign": "autumn"},
    attachments=(
        Attachment("logo.png", b"PNG", "image/png", "the-logo"),
        Attachment("Rechnung für Ada.pdf", b"x" * 2048, "application/pdf"),
    ),
)
RAW = build_message(DRAFT, message_id="<1@example.com>", date=NOW)


@pytest.fixture
def email(submit_email: SubmitEmail) -> Email:
    """Return an email with HTML, an inline image, an attachment and a custom header."""
    email = submit_email()
    RawMessage.objects.filter(email=email).update(content=RAW)
    return email


def message_url(row: Email | MailboxMessage, part: str) -> str:
    """Return the URL of a message's page, or of its HTML or source."""
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{part}/"


# Parsing


def test_parses_a_message_into_its_parts() -> None:
    message = parse_message(RAW)

    assert (message.text.strip(), message.html.strip()) == ("Hello Ada", DRAFT.html)
    assert ("Subject", "Grüße") in message.headers
    assert [(part.name, part.content_type, part.size) for part in message.attachments] == [
        ("logo.png", "image/png", 3),
        ("Rechnung für Ada.pdf", "application/pdf", 2048),
    ]


def test_attached_images_become_data_urls_in_the_html() -> None:
    html = parse_message(RAW).html_with_inline_images()

    assert html.strip() == '<img src="data:image/png;base64,UE5H"><img src="cid:none"><b>Hello Ada</b>'


def test_an_image_used_many_times_is_inlined_up_to_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, html = Attachment("", b"PNG", "image/png", "x"), '<img src="cid:x">' * 3
    monkeypatch.setattr("project.emails.admin.message_parser.MAX_INLINE_IMAGE_CHARACTERS", 2 * len("data:image/png;base64,UE5H"))
    raw = build_message(replace(DRAFT, html=html, attachments=(image,)), message_id="<1@b.example>", date=NOW)

    result = parse_message(raw).html_with_inline_images()

    assert (result.count("data:"), result.count("cid:x")) == (2, 1)


def test_a_file_that_is_not_an_image_is_not_inlined() -> None:
    draft = Draft("a@b.example", ("c@d.example",), html='<img src="cid:x">', attachments=(Attachment("", b"", "text/css", "x"),))

    html = parse_message(build_message(draft, message_id="<1@b.example>", date=NOW)).html_with_inline_images()

    assert html.strip() == '<img src="cid:x">'


def test_decodes_a_text_with_an_unknown_charset() -> None:
    assert parse_message(b'Content-Type: text/plain; charset="klingon"\n\nHello').text == "Hello"


def test_an_attached_message_is_an_attachment() -> None:
    inner, outer = EmailMessage(), EmailMessage()
    inner.set_content("inner text")
    outer.set_content("outer text")
    outer.add_attachment(inner)

    message = parse_message(outer.as_bytes())

    assert message.text == "outer text\n"
    assert [(part.content_type, b"inner text" in part.content) for part in message.attachments] == [("message/rfc822", True)]


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<iframe src="https://x.example/"></iframe>', '<x-iframe src="https://x.example/"></x-iframe>'),
        ("<FrameSet><FRAME\nsrc=//x.example></FRAMESET>", "<x-FrameSet><x-FRAME\nsrc=//x.example></x-FRAMESET>"),
        ("<iframe srcdoc='<iframe/src=//x>'>", "<x-iframe srcdoc='<x-iframe/src=//x>'>"),
        (
            "<object data=x>a</object><embed/><portal><fencedframe>",
            "<x-object data=x>a</x-object><x-embed/><x-portal><x-fencedframe>",
        ),
        ("<\0iframe><if\0rame >", "<x-iframe><x-iframe >"),
        ('<link rel="dns-prefetch" href="//x.example">', '<meta rel="dns-prefetch" href="//x.example">'),
        ("<p title='a frame'>iframe < object <objection> &lt;embed> <framework></p>", None),
    ],
)
def test_removes_elements_that_open_another_page(html: str, expected: str | None) -> None:
    assert remove_frames(html) == (html if expected is None else expected)


# Pages


def test_shows_the_message_that_is_sent(browser: Client, email: Email) -> None:
    page = browser.get(message_url(email, "change")).content.decode()

    for text in ("Hello Ada", "X-Campaign", "Rechnung für Ada.pdf", "2.0\xa0KB", str(email.id)):
        assert text in page
    assert f'sandbox="" src="{message_url(email, "html")}"' in page


def test_shows_the_events_with_the_relays_replies(browser: Client, email: Email) -> None:
    data = {"status": "failed", "attempt": 3, "smtp_code": 550, "response": "5.7.1 Blocked <here>"}
    Event.objects.create(email=email, type="email.failed", data=data, smtp_transcript="S: 220 mx.example.com\nC: QUIT")

    page = browser.get(message_url(email, "change")).content.decode()

    assert page.index("email.queued") < page.index("email.failed") < page.index("attempt 3") < page.index("<b>550</b>")
    assert "5.7.1 Blocked &lt;here&gt;" in page
    assert "S: 220 mx.example.com\nC: QUIT" in page


def test_shows_the_result_of_each_recipient(browser: Client, email: Email) -> None:
    recipient_results = {"bob@example.com": {"status": "bounced", "smtp_code": 550, "response": "5.1.1 Unknown"}}
    Email.objects.filter(pk=email.pk).update(
        status="sent", recipients=["ada@example.com", "bob@example.com"], recipient_results=recipient_results
    )

    rows = browser.get(message_url(email, "change")).context["recipient_rows"]

    assert rows == [
        {"address": "ada@example.com", "status": "sent"},
        {"address": "bob@example.com", "status": "bounced", "smtp_code": 550, "response": "5.1.1 Unknown"},
    ]


def test_the_html_is_sandboxed(browser: Client, email: Email) -> None:
    response = browser.get(message_url(email, "html"))

    policy = response["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "img-src data:", "frame-ancestors 'self'", "form-action 'none'"} <= set(policy)
    assert response["X-Frame-Options"] == "SAMEORIGIN"
    assert "data:image/png" in response.content.decode()


def test_a_frame_is_removed_from_the_html_but_not_from_the_source(browser: Client, submit_email: SubmitEmail) -> None:
    framed = build_message(
        replace(DRAFT, html='<iframe src="https://x.example/"></iframe>'), message_id="<1@example.com>", date=NOW
    )
    email = submit_email()
    RawMessage.objects.filter(email=email).update(content=framed)

    assert b"<iframe" not in browser.get(message_url(email, "html"), {"images": "1"}).content
    assert b"<iframe" in browser.get(message_url(email, "source")).content


def test_remote_images_are_shown_on_request(browser: Client, email: Email) -> None:
    page = browser.get(message_url(email, "change"), {"images": "1"}).content.decode()

    assert f'src="{message_url(email, "html")}?images=1"' in page
    assert "img-src data: https: http:;" in browser.get(message_url(email, "html"), {"images": "1"})["Content-Security-Policy"]


def test_only_the_html_can_be_framed(browser: Client, email: Email) -> None:
    assert browser.get(message_url(email, "change"))["X-Frame-Options"] == "DENY"


def test_the_source_can_be_downloaded(browser: Client, email: Email) -> None:
    response = browser.get(message_url(email, "source"))

    assert response.content == RAW
    assert response["Content-Type"] == "message/rfc822"
    assert response["Content-Disposition"] == f'attachment; filename="{email.pk}.eml"'


def test_shows_a_mailbox_message_in_the_same_way(browser: Client, db: None) -> None:
    email = EmailMultiAlternatives("Hello", "the text part", "shop@example.com", ["ada@example.com"])
    email.attach_alternative("<b>the HTML part</b>", "text/html")
    email.send()
    message = MailboxMessage.objects.get()

    assert "the text part" in browser.get(message_url(message, "change")).content.decode()
    assert "<b>the HTML part</b>" in browser.get(message_url(message, "html")).content.decode()
    assert browser.get(message_url(message, "source")).content == bytes(message.source)


@pytest.mark.parametrize("part", ["html", "source"])
def test_a_part_needs_the_view_permission(teammate: User, email: Email, part: str) -> None:
    client = Client()
    client.force_login(teammate)

    assert client.get(message_url(email, part)).status_code == 403
    assert Client().get(message_url(email, part))["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("part", ["html", "source"])
def test_an_unknown_id_is_a_404(browser: Client, part: str) -> None:
    assert browser.get(f"/admin/emails/email/nothing/{part}/").status_code == 404
