"""A mail's page in the back office: what it holds, and that its HTML can do nothing there."""

from dataclasses import replace
from email.message import EmailMessage as Wire

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
from tests.project.conftest import NOW, Accept

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
SOURCE = build_message(DRAFT, message_id="<1@example.com>", date=NOW)


@pytest.fixture
def email(accept: Accept) -> Email:
    """A mail with everything."""
    email = accept()
    RawMessage.objects.filter(email=email).update(content=SOURCE)
    return email


def address(row: Email | MailboxMessage, part: str) -> str:
    """Where something of a mail is."""
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{part}/"


# Taken apart


def test_a_mail_is_taken_apart() -> None:
    contents = parse_message(SOURCE)

    assert (contents.text.strip(), contents.html.strip()) == ("Hello Ada", DRAFT.html)
    assert ("Subject", "Grüße") in contents.headers
    assert [(file.name, file.content_type, file.size) for file in contents.files] == [
        ("logo.png", "image/png", 3),
        ("Rechnung für Ada.pdf", "application/pdf", 2048),
    ]


def test_pictures_that_came_along_are_in_the_html() -> None:
    html = parse_message(SOURCE).html_with_inline_images()

    assert html.strip() == '<img src="data:image/png;base64,UE5H"><img src="cid:none"><b>Hello Ada</b>'


def test_a_picture_that_is_named_many_times_is_in_the_html_as_often_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture, html = Attachment("", b"PNG", "image/png", "x"), '<img src="cid:x">' * 3
    monkeypatch.setattr("project.emails.admin.message_parser.MAX_INLINE_IMAGE_CHARACTERS", 2 * len("data:image/png;base64,UE5H"))
    source = build_message(replace(DRAFT, html=html, attachments=(picture,)), message_id="<1@b.example>", date=NOW)

    shown = parse_message(source).html_with_inline_images()

    assert (shown.count("data:"), shown.count("cid:x")) == (2, 1)


def test_what_is_no_picture_is_not_in_the_html() -> None:
    draft = Draft("a@b.example", ("c@d.example",), html='<img src="cid:x">', attachments=(Attachment("", b"", "text/css", "x"),))

    html = parse_message(build_message(draft, message_id="<1@b.example>", date=NOW)).html_with_inline_images()

    assert html.strip() == '<img src="cid:x">'


def test_a_text_in_an_unknown_charset_is_shown_as_well_as_can_be() -> None:
    assert parse_message(b'Content-Type: text/plain; charset="klingon"\n\nHello').text == "Hello"


def test_a_mail_within_a_mail_is_a_file() -> None:
    inner, outer = Wire(), Wire()
    inner.set_content("inner text")
    outer.set_content("outer text")
    outer.add_attachment(inner)

    contents = parse_message(outer.as_bytes())

    assert contents.text == "outer text\n"
    assert [(file.content_type, b"inner text" in file.content) for file in contents.files] == [("message/rfc822", True)]


@pytest.mark.parametrize(
    ("html", "left"),
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
def test_what_is_shown_opens_no_page(html: str, left: str | None) -> None:
    assert remove_frames(html) == (html if left is None else left)


# Shown


def test_shows_what_is_sent(browser: Client, email: Email) -> None:
    page = browser.get(address(email, "change")).content.decode()

    for shown in ("Hello Ada", "X-Campaign", "Rechnung für Ada.pdf", "2.0\xa0KB", str(email.id)):
        assert shown in page
    assert f'sandbox="" src="{address(email, "html")}"' in page


def test_shows_what_happened_and_what_the_relay_said(browser: Client, email: Email) -> None:
    data = {"status": "failed", "attempt": 3, "smtp_code": 550, "response": "5.7.1 Blocked <here>"}
    Event.objects.create(email=email, type="email.failed", data=data, smtp_transcript="S: 220 mx.example.com\nC: QUIT")

    page = browser.get(address(email, "change")).content.decode()

    assert page.index("email.queued") < page.index("email.failed") < page.index("attempt 3") < page.index("<b>550</b>")
    assert "5.7.1 Blocked &lt;here&gt;" in page
    assert "S: 220 mx.example.com\nC: QUIT" in page


def test_shows_how_it_ended_for_each_recipient(browser: Client, email: Email) -> None:
    recipient_results = {"bob@example.com": {"status": "bounced", "smtp_code": 550, "response": "5.1.1 Unknown"}}
    Email.objects.filter(pk=email.pk).update(
        status="sent", recipients=["ada@example.com", "bob@example.com"], recipient_results=recipient_results
    )

    ends = browser.get(address(email, "change")).context["ends"]

    assert ends == [
        {"address": "ada@example.com", "status": "sent"},
        {"address": "bob@example.com", "status": "bounced", "smtp_code": 550, "response": "5.1.1 Unknown"},
    ]


def test_the_html_can_do_nothing(browser: Client, email: Email) -> None:
    answer = browser.get(address(email, "html"))

    policy = answer["Content-Security-Policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "img-src data:", "frame-ancestors 'self'", "form-action 'none'"} <= set(policy)
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert "data:image/png" in answer.content.decode()


def test_a_frame_in_the_html_is_sent_and_not_shown(browser: Client, accept: Accept) -> None:
    framed = build_message(
        replace(DRAFT, html='<iframe src="https://x.example/"></iframe>'), message_id="<1@example.com>", date=NOW
    )
    email = accept()
    RawMessage.objects.filter(email=email).update(content=framed)

    assert b"<iframe" not in browser.get(address(email, "html"), {"images": "1"}).content
    assert b"<iframe" in browser.get(address(email, "source")).content


def test_remote_images_are_shown_when_asked_for(browser: Client, email: Email) -> None:
    page = browser.get(address(email, "change"), {"images": "1"}).content.decode()

    assert f'src="{address(email, "html")}?images=1"' in page
    assert "img-src data: https: http:;" in browser.get(address(email, "html"), {"images": "1"})["Content-Security-Policy"]


def test_only_the_html_can_be_framed(browser: Client, email: Email) -> None:
    assert browser.get(address(email, "change"))["X-Frame-Options"] == "DENY"


def test_the_source_can_be_kept(browser: Client, email: Email) -> None:
    answer = browser.get(address(email, "source"))

    assert answer.content == SOURCE
    assert answer["Content-Type"] == "message/rfc822"
    assert answer["Content-Disposition"] == f'attachment; filename="{email.pk}.eml"'


def test_a_message_of_the_mailbox_is_shown_the_same_way(browser: Client, db: None) -> None:
    mail = EmailMultiAlternatives("Hello", "the text of it", "shop@example.com", ["ada@example.com"])
    mail.attach_alternative("<b>the HTML of it</b>", "text/html")
    mail.send()
    message = MailboxMessage.objects.get()

    assert "the text of it" in browser.get(address(message, "change")).content.decode()
    assert "<b>the HTML of it</b>" in browser.get(address(message, "html")).content.decode()
    assert browser.get(address(message, "source")).content == bytes(message.source)


@pytest.mark.parametrize("part", ["html", "source"])
def test_a_part_is_shown_to_nobody_who_may_not_see_the_mail(teammate: User, email: Email, part: str) -> None:
    client = Client()
    client.force_login(teammate)

    assert client.get(address(email, part)).status_code == 403
    assert Client().get(address(email, part))["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("part", ["html", "source"])
def test_what_is_not_there_has_no_parts(browser: Client, part: str) -> None:
    assert browser.get(f"/admin/emails/email/nothing/{part}/").status_code == 404
