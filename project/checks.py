"""Django system checks for unsafe settings. `manage.py check --deploy` runs all of them.

`serve`, `deliver` and `prepare` also run the checks tagged `transport`, and do not start if one of these checks fails. These
checks report settings that are unsafe or unusable for sending email. Checks tagged `deployment` report settings that are not
ready for production. A local trial does not need to pass them.
"""

import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from project.bridge.middleware.proxy_headers import parse_proxies
from project.config.email_url import Relay
from project.config.mailers import SMTP_BACKEND
from project.transports.django_backend import backend_path
from project.transports.factory import CHECK_TAG, delivers_only_locally
from project.transports.mailbox_backend import MailboxBackend
from project.transports.smtp.transport import create_tls_context

DEPLOYMENT_TAG = "deployment"
MIN_SECRET_KEY_LENGTH, MIN_DISTINCT_CHARACTERS = 32, 10  # characters
_PLACEHOLDERS = ("django-insecure", "change", "secret", "insecure", "default", "example", "your")

Messages = Sequence[CheckMessage]


@register(CHECK_TAG)
def check_debug(**_kwargs: Any) -> Messages:
    """Report DEBUG if email leaves this machine: debug pages show settings and emails to anyone who causes an error."""
    return _debug_is_on() if _email_leaves_machine() else []


def _debug_is_on() -> Messages:
    if not settings.DEBUG:
        return []
    hint = "Unset DEBUG, or unset EMAIL_URL and EMAIL_BACKEND to keep email on this machine."
    return [_error("001", "DEBUG is on, and email leaves this machine.", hint)]


@register(CHECK_TAG)
def check_allowed_hosts(**_kwargs: Any) -> Messages:
    """Report `*` in ALLOWED_HOSTS if email leaves this machine: links could contain any domain that points to this server."""
    return _wildcard_hosts() if _email_leaves_machine() else []


@register(CHECK_TAG)
def check_anonymous_sending(**_kwargs: Any) -> Messages:
    """Report a MAILBOX_BACKEND other than the embedded mailbox: the API requires no credential with MAILBOX_BACKEND."""
    if not delivers_only_locally() or issubclass(import_string(backend_path()), MailboxBackend):
        return []
    hint = f"MAILBOX_BACKEND must be the embedded mailbox, not {settings.MAILBOX_BACKEND}. Set another backend as EMAIL_BACKEND."
    return [_error("003", "Email could be sent from this machine without a credential.", hint)]


@register(CHECK_TAG)
def check_relay_login_uses_tls(**_kwargs: Any) -> Messages:
    """Report a relay login without TLS, unless the relay is on this machine."""
    hint = "Use smtp+starttls:// or smtps:// in EMAIL_URL."
    return [
        _error("004", f"The password of the relay {relay.name} would be sent over the network unencrypted.", hint)
        for relay in settings.RELAYS
        if relay.username and not relay.uses_tls and not _is_loopback(relay.host)
    ]


@register(CHECK_TAG)
def check_relay_files(**_kwargs: Any) -> Messages:
    """Report a CA file or token command that cannot be used: no connection to the relay would succeed."""
    return [error for relay in settings.RELAYS for error in _unusable_files(relay)]


@register(CHECK_TAG)
def check_email_backend(**_kwargs: Any) -> Messages:
    """Report an EMAIL_BACKEND that cannot be used: emails would be accepted but never sent."""
    hint = "Set EMAIL_BACKEND to the dotted path of a Django email backend."
    try:
        is_backend = issubclass(import_string(backend_path()), BaseEmailBackend)
    except (ImportError, TypeError) as error:
        return [_error("014", f"EMAIL_BACKEND cannot be used: {error}.", hint)]
    return [] if is_backend else [_error("014", "EMAIL_BACKEND is not a Django email backend.", hint)]


@register(CHECK_TAG)
def check_celery_broker(**_kwargs: Any) -> Messages:
    """Report DELIVERY_WORKER=celery without a broker: no Celery worker could be woken."""
    if settings.DELIVERY_WORKER != "celery" or settings.CELERY_BROKER_URL:
        return []
    hint = "Set CELERY_BROKER_URL, such as redis://host:6379/1 or amqp://user:password@host/vhost."
    return [_error("018", "DELIVERY_WORKER=celery needs a broker.", hint)]


@register(CHECK_TAG)
def check_secret_key(**_kwargs: Any) -> Messages:
    """Report a weak SECRET_KEY if email leaves this machine: an attacker who guesses the key can forge any user's session."""
    return _weak_secret_key() if _email_leaves_machine() else []


@register(DEPLOYMENT_TAG, deploy=True)
def check_ready_for_deployment(**_kwargs: Any) -> Messages:
    """Report wildcard hosts and a weak secret key, and DEBUG if there is a relay on this machine.

    These errors are reported only if email stays on this machine. Otherwise the checks above report them.
    """
    if _email_leaves_machine():
        return []
    return [*([] if delivers_only_locally() else _debug_is_on()), *_wildcard_hosts(), *_weak_secret_key()]


@register(DEPLOYMENT_TAG, deploy=True)
def check_channel_layer_is_shared(**_kwargs: Any) -> Messages:
    """Report an in-memory channel layer with an external delivery worker: its messages do not reach other processes."""
    in_memory = settings.CHANNEL_LAYERS["default"]["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    if settings.DELIVERY_WORKER not in ("external", "celery") or not in_memory:
        return []
    hint = "Set REDIS_URL for all processes, or unset DELIVERY_WORKER so that the server starts the delivery worker."
    return [_error("006", f"DELIVERY_WORKER={settings.DELIVERY_WORKER} needs a channel layer that processes share.", hint)]


@register(DEPLOYMENT_TAG, deploy=True)
def check_tls(**_kwargs: Any) -> Messages:
    """Report an undecided or incomplete TLS setup: passwords and API keys must not be sent unencrypted by accident."""
    if settings.ENV.public_url is None:
        hint = "Set PUBLIC_URL=https://your.host. With http://, passwords and API keys are sent unencrypted."
        return [_error("007", "PUBLIC_URL is not set, so it is unknown whether clients use TLS.", hint)]
    if settings.ENV.has_tls and not settings.TRUSTED_PROXIES:
        hint = "Set TRUSTED_PROXIES to the address of the proxy that terminates TLS, as this server sees it, such as 127.0.0.1."
        return [_error("008", "PUBLIC_URL is https://, but no proxy is trusted to report that a request used TLS.", hint)]
    return []


@register(DEPLOYMENT_TAG, deploy=True)
def check_trusted_proxies(**_kwargs: Any) -> Messages:
    """Report a network of all IP addresses: any client could forge the IP address for limits, lockout and the audit trail."""
    networks = [network for network in parse_proxies(settings.TRUSTED_PROXIES) if not isinstance(network, str)]
    if all(network.prefixlen for network in networks):
        return []
    return [_error("009", "TRUSTED_PROXIES trusts every address.", "List the addresses or networks of your proxies only.")]


@register(DEPLOYMENT_TAG, deploy=True)
def check_trusted_origins(**_kwargs: Any) -> Messages:
    """Report origins that are insecure or too broad: pages of a trusted origin can act as the logged-in user who visits them."""
    origins = settings.CSRF_TRUSTED_ORIGINS
    errors = []
    if settings.ENV.has_tls and any(origin.startswith("http://") for origin in origins):
        hint = "Use https:// only: a page loaded without TLS can be modified on its way."
        errors.append(_error("010", "CSRF_TRUSTED_ORIGINS trusts pages loaded without TLS.", hint))
    if any(_matches_whole_tld(urlsplit(origin).netloc.partition(":")[0], "*") for origin in origins):
        hint = "List full hosts, or *. and a domain of your own, such as https://*.example.com."
        errors.append(_error("011", "CSRF_TRUSTED_ORIGINS trusts a whole top-level domain.", hint))
    return errors


@register(DEPLOYMENT_TAG, deploy=True)
def check_allowed_domains(**_kwargs: Any) -> Messages:
    """Report a whole top-level domain in ALLOWED_HOSTS, which is almost as broad as `*`."""
    if not any(_matches_whole_tld(host, ".") for host in settings.ALLOWED_HOSTS):
        return []
    hint = "List full hosts, or . and a domain of your own, such as .example.com."
    return [_error("012", "ALLOWED_HOSTS allows a whole top-level domain.", hint)]


@register(DEPLOYMENT_TAG, deploy=True)
def check_login_lockout(**_kwargs: Any) -> Messages:
    """Report a disabled login lockout: an attacker could try any number of passwords."""
    if settings.LOGIN_MAX_FAILURES:
        return []
    hint = "Unset LOGIN_MAX_FAILURES: by default, ten failed logins lock a user out at an IP address."
    return [_error("013", "LOGIN_MAX_FAILURES is 0, so passwords can be guessed without limit.", hint)]


@register(DEPLOYMENT_TAG, deploy=True)
def check_relay_is_verified(**_kwargs: Any) -> Messages:
    """Report verify=false: an attacker between this server and the relay could read all emails and the login."""
    hint = "Remove verify=false. If a private CA signed the certificate, or the relay itself, set ca_file."
    return [
        _error("017", f"EMAIL_URL has verify=false, so any server can pretend to be the relay {relay.name}.", hint)
        for relay in settings.RELAYS
        if not relay.verify and not _is_loopback(relay.host)
    ]


def _unusable_files(relay: Relay) -> Messages:
    errors = []
    try:
        if relay.ca_file:
            create_tls_context(relay)
    except OSError as error:
        hint = "Name a readable file with CA certificates in PEM format."
        message = f"ca_file of the relay {relay.name} in EMAIL_URL cannot be used: {error.strerror or error}."
        errors.append(_error("016", message, hint))
    command = relay.token_source.command if relay.token_source else ()
    if command and not (Path(command[0]).is_file() and os.access(command[0], os.X_OK)):
        message = f"token_command of the relay {relay.name} in EMAIL_URL is not an executable file."
        errors.append(_error("016", message, "Check its path and permissions."))
    return errors


def _matches_whole_tld(host: str, wildcard: str) -> bool:
    """Return whether the host is the wildcard followed only by a top-level domain."""
    return host.startswith(wildcard) and "." not in host.removeprefix("*").strip(".")


def _email_leaves_machine() -> bool:
    relays = settings.RELAYS if backend_path() == SMTP_BACKEND else ()
    return not delivers_only_locally() and not (relays and all(_is_loopback(relay.host) for relay in relays))


def _wildcard_hosts() -> Messages:
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [_error("002", "ALLOWED_HOSTS is *: this server answers to any host name.", "List its host names, or set PUBLIC_URL.")]


def _weak_secret_key() -> Messages:
    errors = []
    if not _is_strong(settings.SECRET_KEY):
        hint = "Unset it: a random key is generated on first start."
        errors.append(_error("005", "SECRET_KEY is short or easy to guess.", hint))
    if not all(map(_is_strong, settings.SECRET_KEY_FALLBACKS)):
        hint = "Remove the weak key: an attacker who guesses it can forge sessions."
        errors.append(_error("015", "SECRET_KEY_FALLBACKS contains a key that is short or easy to guess.", hint))
    return errors


def _is_strong(key: str) -> bool:
    is_long = len(key) >= MIN_SECRET_KEY_LENGTH and len(set(key)) >= MIN_DISTINCT_CHARACTERS
    return is_long and not key.lower().startswith(_PLACEHOLDERS)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _error(number: str, text: str, hint: str) -> Error:
    return Error(text, hint=hint, id=f"mailrail.E{number}")
