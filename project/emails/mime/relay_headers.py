"""Headers by which a message gives commands to a relay. A caller of the API may not set them unless a setting allows it.

Relays read such headers as options of an account: another template, recipient, time, tenant or tracking, up to text of their
own. docs/decisions/0028-relay-control-headers.md lists where each name comes from. Pure.
"""

import re
from functools import lru_cache

from django.conf import settings

_NAMES = (
    # of mail servers: sendmail, Exim, Postfix, Exchange, MDaemon
    "Apparently-To, Errors-To, X-Errors-To, Bounces-To,"
    "Return-Receipt-To, Return-Receipt-Requested, Delivery-Receipt-To, Generate-Delivery-Report,"
    "Prevent-NonDelivery-Report, Deferred-Delivery, Alternate-Recipient, Disclose-Recipients, Original-Recipient, Delivered-To,"
    "X-Delivered-To, X-Original-To, Envelope-To, X-Envelope-To, X-Envelope-From, X-Rcpt-To, X-Received, Received-SPF,"
    "X-Authentication-Results, DomainKey-Signature, X-Google-DKIM-Signature, X-MS-Exchange-*, X-Forefront-*,"
    "X-Microsoft-Antispam*, X-MDRcpt-To, X-MDSend-Notifications-To,"
    # of mail servers for bulk email: PowerMTA, Momentum, KumoMTA, GreenArrow, MailerQ, Postal
    "X-VirtualMTA, X-Virtual-MTA, X-Job, X-EnvID, X-PMTA-*, X-MSYS-*, X-Binding, X-KumoRef, X-GreenArrow-*, X-MQ-*, X-Postal-*,"
    # of email services: AhaSend, Alibaba DirectMail, Amazon SES, Azure, Brevo, Campaigner, Campaign Monitor, Elastic Email,
    # Emailit, Infobip, Lettermint, Mandrill, MailerSend, Maileroo, Mailgun, Mailjet, MailPace, Mailtrap, Netcore, Postmark,
    # ReachMail, Resend, SendGrid, Sendmachine, SmartSender, SMTP2GO, SMTPeter, SocketLabs, SparkPost, Unosend
    "AhaSend-*, X-AhaSend-*, X-AliDM-*, X-SES-*, X-MS-ACSEmail-*, X-Mailin-*, X-Sib-*, Sender.IP, IdempotencyKey,"
    "X-CMP-*, X-Cmail-*, X-MailPace-*, X-RM-*, X-SM-*, X-Ignore-*, X-SMTPeter-*, X-Unosend-*,"
    "X-ElasticEmail-*, IsTransactional, PostBack, X-Emailit-*, X-Infobip-*, X-Lettermint-*, X-LM-*, X-MC-*, X-Mandrill-*,"
    "X-MailerSend-*, X-Maileroo-*, X-Mailgun-*, X-MJ-*, X-Mailjet-*, X-MT-*, X-APIHEADER, X-PM-*, Resend-*, X-Resend-*,"
    "X-SMTPAPI, X-SG-*, X-SMTP2GO-*, X-xs*, X-SparkPost-*"
)


def is_relay_header(name: str) -> bool:
    """Return whether a relay could read this header as a command, and `ALLOWED_RELAY_HEADERS` does not allow it."""
    return _RELAY_HEADERS.fullmatch(name) is not None and not _compile(tuple(settings.ALLOWED_RELAY_HEADERS)).fullmatch(name)


@lru_cache(maxsize=8)
def _compile(names: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = (re.escape(name.removesuffix("*")) + (".*" if name.endswith("*") else "") for name in names)
    return re.compile("|".join(alternatives) or r"(?!)", re.IGNORECASE)


_RELAY_HEADERS = _compile(tuple(name.strip() for name in _NAMES.split(",")))
