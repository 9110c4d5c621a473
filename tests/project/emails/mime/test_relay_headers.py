"""Headers with commands for relays are refused, unless a setting allows them."""

import pytest
from pytest_django import Settings

from project.emails.mime.custom_headers import check_header_name
from project.emails.mime.relay_headers import is_relay_header

COMMANDS = (
    "X-SMTPAPI X-MC-Track X-MC-BccAddress X-SES-Configuration-Set X-SES-SOURCE-ARN X-PM-Message-Stream X-PM-Metadata-a "
    "X-Mailgun-Deliver-By X-Mailgun-Variables X-MJ-TemplateID X-Mailjet-Campaign X-MSYS-API X-Mailin-Tag X-Sib-Sandbox "
    "X-ElasticEmail-Settings X-SMTP2GO-Tag Resend-Idempotency-Key X-MailerSend-Tags X-MT-Category X-APIHEADER X-xsMailingId "
    "Apparently-To Errors-To Return-Receipt-To Delivered-To X-Original-To X-Envelope-To X-MS-Exchange-Organization-SCL "
    "X-VirtualMTA X-Postal-Tag Received-SPF X-Errors-To Bounces-To X-CMP-TemplateId X-Cmail-GroupName X-MailPace-Tags "
    "X-RM-Profile X-SM-Campaign X-Ignore-Unsubscribe X-SMTPeter-InlineCSS X-Unosend-Track-Opens"
)
HARMLESS = (
    "X-Mailer X-Priority Importance List-Unsubscribe List-Unsubscribe-Post In-Reply-To References Auto-Submitted Precedence "
    "X-Entity-Ref-ID X-Campaign-Id Feedback-ID X-Auto-Response-Suppress Disposition-Notification-To X-SMTP X-PM X-Order"
)


@pytest.mark.parametrize("name", COMMANDS.split(" "))
def test_refuses_a_command_for_a_relay_in_any_case(name: str) -> None:
    for spelling in (name, name.lower(), name.upper()):
        with pytest.raises(ValueError, match="ALLOWED_RELAY_HEADERS"):
            check_header_name(spelling)


@pytest.mark.parametrize("name", HARMLESS.split(" "))
def test_allows_a_header_that_is_no_command(name: str) -> None:
    assert check_header_name(name) == name


def test_a_setting_allows_named_headers(settings: Settings) -> None:
    settings.ALLOWED_RELAY_HEADERS = ["x-pm-tag", "X-SES-*"]

    allowed = [name for name in ("X-PM-Tag", "X-PM-Tags", "X-SES-Message-Tags", "X-SMTPAPI") if not is_relay_header(name)]

    assert allowed == ["X-PM-Tag", "X-SES-Message-Tags"]


def test_the_setting_does_not_allow_what_the_service_sets(settings: Settings) -> None:
    settings.ALLOWED_RELAY_HEADERS = ["Bcc", "Resent-*"]

    for name in ("Bcc", "Resent-To"):
        with pytest.raises(ValueError, match="set by the service"):
            check_header_name(name)
