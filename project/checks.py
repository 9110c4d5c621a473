"""What Mailrail will not do, as Django's system checks: `manage.py check --deploy` makes all of them.

Those tagged `transport` tell of mail that goes to another machine, and stop `serve` and `prepare` too: nobody can mean it. The
others tell of a server that is not ready for the world, which a trial on one's own machine, with a relay there, need not be.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from project.bridge.middleware.proxy_headers import parse_proxies
from project.transports.factory import CHECK_TAG, SMTP_BACKEND, is_local_only
from project.transports.mailbox_backend import MailboxBackend

DEPLOYMENT_TAG = "deployment"
MIN_SECRET_KEY_LENGTH, MIN_DISTINCT_CHARACTERS = 32, 10  # characters
_PLACEHOLDERS = ("django-insecure", "change", "secret", "insecure", "default", "example", "your")

Messages = Sequence[CheckMessage]


@register(CHECK_TAG)
def check_debug(**_kwargs: Any) -> Messages:
    """Debug pages show settings, and what a mail holds, to whoever causes an error."""
    return _debug_is_on() if _email_leaves_machine() else []


def _debug_is_on() -> Messages:
    if not settings.DEBUG:
        return []
    return [_error("001", "DEBUG is on, and mail leaves this machine.", "Unset DEBUG, or EMAIL_URL and EMAIL_BACKEND.")]


@register(CHECK_TAG)
def check_allowed_hosts(**_kwargs: Any) -> Messages:
    """Whoever has a name point here could have links made with it."""
    return _wildcard_hosts() if _email_leaves_machine() else []


@register(CHECK_TAG)
def check_anonymous_sending(**_kwargs: Any) -> Messages:
    """Who gives no credential may send while mail stays here: so what counts as staying here must be the embedded mailbox."""
    if not is_local_only() or issubclass(import_string(settings.EMAIL_BACKEND), MailboxBackend):
        return []
    hint = f"MAILBOX_BACKEND is the embedded mailbox; another backend is EMAIL_BACKEND, not {settings.MAILBOX_BACKEND}."
    return [_error("003", "Anybody could send mail without a credential, and it leaves this machine.", hint)]


@register(CHECK_TAG)
def check_relay_login_uses_tls(**_kwargs: Any) -> Messages:
    """A password for the relay needs TLS, unless the relay is on this machine."""
    relay = settings.RELAY
    if relay is None or not relay.username or relay.starttls or relay.implicit_tls or _is_loopback(relay.host):
        return []
    hint = "Write smtp+starttls:// or smtps:// in EMAIL_URL."
    return [_error("004", "The password for the relay would go through the network in the clear.", hint)]


@register(CHECK_TAG)
def check_email_backend(**_kwargs: Any) -> Messages:
    """Mail for a backend that there is not would be taken in, and stay."""
    try:
        is_one = issubclass(import_string(settings.EMAIL_BACKEND), BaseEmailBackend)
    except (ImportError, TypeError) as error:
        return [_error("014", f"EMAIL_BACKEND cannot be used: {error}.", "Write the dotted path of a Django e-mail backend.")]
    return [] if is_one else [_error("014", "EMAIL_BACKEND is no Django e-mail backend.", "Write the dotted path of one.")]


@register(CHECK_TAG)
def check_secret_key(**_kwargs: Any) -> Messages:
    """Who knows or guesses SECRET_KEY signs in as anybody."""
    return _weak_secret_key() if _email_leaves_machine() else []


@register(DEPLOYMENT_TAG, deploy=True)
def check_ready_for_deployment(**_kwargs: Any) -> Messages:
    """The same while mail stays here, or goes to a relay on this machine."""
    if _email_leaves_machine():
        return []
    return [*([] if is_local_only() else _debug_is_on()), *_wildcard_hosts(), *_weak_secret_key()]


@register(DEPLOYMENT_TAG, deploy=True)
def check_channel_layer_is_shared(**_kwargs: Any) -> Messages:
    """A channel layer in memory reaches one process."""
    in_memory = settings.CHANNEL_LAYERS["default"]["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    if settings.DELIVERY_WORKER != "external" or not in_memory:
        return []
    hint = "Set REDIS_URL for both, so that they hear of each other at once, or let the server see to it (no DELIVER)."
    return [_error("006", "Mail is delivered by another process, and the channel layer is in this one's memory.", hint)]


@register(DEPLOYMENT_TAG, deploy=True)
def check_tls(**_kwargs: Any) -> Messages:
    """Passwords and keys come over TLS, which a proxy in front ends, or somebody has said that they do not."""
    if settings.ENV.public_url is None:
        hint = "Set PUBLIC_URL=https://your.host; http:// says that passwords and keys may go in the clear."
        return [_error("007", "Nobody has said whether people reach this server over TLS.", hint)]
    if settings.ENV.has_tls and not settings.TRUSTED_PROXIES:
        hint = "Set TRUSTED_PROXIES to the address of the proxy that ends TLS, as this server sees it, such as 127.0.0.1."
        return [_error("008", "PUBLIC_URL is https://, and no proxy may say that a request came so.", hint)]
    return []


@register(DEPLOYMENT_TAG, deploy=True)
def check_trusted_proxies(**_kwargs: Any) -> Messages:
    """Who counts as a proxy chooses the address that is limited, locked and written down."""
    networks = [network for network in parse_proxies(settings.TRUSTED_PROXIES) if not isinstance(network, str)]
    if all(network.prefixlen for network in networks):
        return []
    return [_error("009", "TRUSTED_PROXIES trusts every address.", "Name the proxy's own address, or its network.")]


@register(DEPLOYMENT_TAG, deploy=True)
def check_trusted_origins(**_kwargs: Any) -> Messages:
    """Pages of these origins act as who visits them."""
    origins = settings.CSRF_TRUSTED_ORIGINS
    found = []
    if settings.ENV.has_tls and any(origin.startswith("http://") for origin in origins):
        hint = "Write https://: whoever sits on the line can put what they like into a page that came without TLS."
        found.append(_error("010", "CSRF_TRUSTED_ORIGINS trusts pages that came without TLS.", hint))
    if any(_matches_whole_tld(urlsplit(origin).netloc.partition(":")[0], "*") for origin in origins):
        hint = "Write the host, or *. and a domain of your own."
        found.append(_error("011", "CSRF_TRUSTED_ORIGINS trusts a whole top-level domain.", hint))
    return found


@register(DEPLOYMENT_TAG, deploy=True)
def check_allowed_domains(**_kwargs: Any) -> Messages:
    """A top-level domain is as good as any host."""
    if not any(_matches_whole_tld(host, ".") for host in settings.ALLOWED_HOSTS):
        return []
    return [_error("012", "ALLOWED_HOSTS has a whole top-level domain.", "Write the host, or . and a domain of your own.")]


@register(DEPLOYMENT_TAG, deploy=True)
def check_login_lockout(**_kwargs: Any) -> Messages:
    """Passwords can be guessed by who has as many tries as they like."""
    if settings.AXES_ENABLED:
        return []
    return [_error("013", "LOGIN_MAX_FAILURES is 0: nothing ends the guessing of passwords.", "Unset it: ten lock for a while.")]


def _matches_whole_tld(host: str, wildcard: str) -> bool:
    """Whether it begins with the wildcard, and no more than a top-level domain comes after."""
    return host.startswith(wildcard) and "." not in host.removeprefix("*").strip(".")


def _email_leaves_machine() -> bool:
    relay = settings.RELAY if settings.EMAIL_BACKEND == SMTP_BACKEND else None
    return not is_local_only() and not (relay is not None and _is_loopback(relay.host))


def _wildcard_hosts() -> Messages:
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [_error("002", "ALLOWED_HOSTS has *: this server answers to any name.", "Name its hosts, or set PUBLIC_URL.")]


def _weak_secret_key() -> Messages:
    key = settings.SECRET_KEY
    if (
        len(key) >= MIN_SECRET_KEY_LENGTH
        and len(set(key)) >= MIN_DISTINCT_CHARACTERS
        and not key.lower().startswith(_PLACEHOLDERS)
    ):
        return []
    return [_error("005", "SECRET_KEY is short or easy to guess.", "Unset it: the first start makes one.")]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _error(number: str, text: str, hint: str) -> Error:
    return Error(text, hint=hint, id=f"mailrail.E{number}")
