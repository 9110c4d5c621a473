"""Django's settings, derived from environment variables (project.config.environment)."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from project.bridge.middleware.security_headers import content_security_policy, security_headers
from project.config.celery_settings import beat_schedule, broker_tls
from project.config.database_settings import database_settings
from project.config.environment import read_environment
from project.config.mailers import SMTP_BACKEND, mailers, settings_before_mailers
from project.config.rates import parse_rate

ENV = read_environment()
YEAR = 365 * 24 * 60 * 60  # seconds

SECRET_KEY = ENV.resolved_secret_key
SECRET_KEY_FALLBACKS = [key.get_secret_value() for key in ENV.secret_key_fallbacks]
DEBUG = ENV.debug
ALLOWED_HOSTS = [*ENV.allowed_hosts, *([ENV.public_host] if ENV.public_host else [])]
CSRF_TRUSTED_ORIGINS = [*ENV.csrf_trusted_origins, *([ENV.public_url] if ENV.public_url else [])]
CORS_ORIGINS = ENV.cors_origins
TRUSTED_PROXIES = ENV.trusted_proxies  # for Django and FastAPI: see project.bridge.middleware.proxy_headers
HEALTH_ALLOWED_NETWORKS = ENV.health_allowed_networks
READY_MAX_QUEUE_AGE = ENV.ready_max_queue_age
SHUTDOWN_GRACE = ENV.shutdown_grace
SHARED_COUNTERS: Path | None = None  # `manage.py serve --processes` sets it in its server processes

INSTALLED_APPS = [
    "project.apps.DaphneConfig",  # first, so that Daphne's `runserver` replaces Django's
    "project",  # before the admin, so that our admin templates override Django's
    "project.accounts",
    "project.api_keys",
    "project.audit",
    "project.emails",
    "project.events",
    "project.delivery",
    "project.transports",
    "project.mail_templates",
    "project.suppressions",
    "project.retention",
    "project.statistics",
    "channels",
    "project.admin.apps.MailrailAdminConfig",  # django.contrib.admin with our own site class
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",  # for `intcomma` in templates
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
]

MIDDLEWARE = [
    "project.metrics.django_routes.django_route_middleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "project.accounts.middleware.SessionActivityMiddleware",
    "project.accounts.middleware.RefusedLoginMiddleware",
    "project.audit.middleware.audit_actor_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "project.admin.input_validation.AdminInputValidationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "project.web.database_unavailable.DatabaseUnavailableMiddleware",
]

ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": database_settings(
        ENV.database_url.get_secret_value() if ENV.database_url else f"sqlite:///{ENV.ensure_data_dir() / 'mailrail.sqlite3'}",
        connect_timeout=ENV.database_connect_timeout,
        lock_timeout=ENV.database_lock_timeout,
        idle_in_transaction_timeout=ENV.database_idle_in_transaction_timeout,
        statement_timeout=ENV.database_statement_timeout,
    )
}
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["project.accounts.lockout.LockoutBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = [
    "project.accounts.hashing.BoundedPBKDF2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2SHA1PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASE_NOTIFY_URL = ENV.database_notify_url.get_secret_value() if ENV.database_notify_url else None
REDIS_URL = ENV.redis_url.get_secret_value() if ENV.redis_url else None
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL is not None:  # for notifications between processes: docs/decisions/0018-cross-process-notifications.md
    from redis.asyncio.retry import Retry  # imported here, because the import takes a quarter of a second
    from redis.backoff import NoBackoff

    _redis = {
        "address": REDIS_URL,
        "retry": Retry(NoBackoff(), 1),  # one retry, because the server may have closed an idle connection
        "socket_timeout": 1.0,
        "socket_connect_timeout": 1.0,
        "health_check_interval": 10,
    }
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [_redis], "prefix": "mailrail"},
    }

MAILBOX_BACKEND = "project.transports.mailbox_backend.MailboxBackend"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.default_from_email
RELAYS = ENV.relays
_email_backend = ENV.email_backend or (SMTP_BACKEND if RELAYS else MAILBOX_BACKEND)
_first_relay = RELAYS[0] if RELAYS else None  # Django sends its own emails through the first relay too
MAILERS = mailers(_email_backend, _first_relay)
globals().update(settings_before_mailers(_email_backend, _first_relay))
RETRY_DELAYS = ENV.retry_delays
MAX_EMAIL_AGE = ENV.max_email_age
# Finished emails, messages in the mailbox and audit entries are deleted after these periods: project.retention
KEEP_BODIES = ENV.keep_bodies
KEEP_EMAILS = ENV.keep_emails
KEEP_MAILBOX = ENV.keep_mailbox
AUDIT_RETENTION_DAYS = ENV.audit_retention_days
ALLOWED_RELAY_HEADERS = ENV.allowed_relay_headers
ALLOW_INTERNAL_DOMAINS = ENV.allow_internal_domains
ALLOW_QUOTED_LOCAL_PARTS = ENV.allow_quoted_local_parts
DELIVERY_WORKER = ENV.delivery_worker or "in_process"  # the default of `manage.py serve` is "subprocess"
CELERY_BROKER_URL = ENV.celery_broker_url.get_secret_value() if ENV.celery_broker_url else None
CELERY_BROKER_USE_SSL = broker_tls(CELERY_BROKER_URL)
CELERY_BEAT_SCHEDULE = beat_schedule()
CELERY_BEAT_SCHEDULE_FILENAME = str(ENV.ensure_data_dir() / "celerybeat-schedule")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Failed logins, in the admin and at POST /api/token, are counted in the database: docs/decisions/0029-login-lockout.md
LOGIN_MAX_FAILURES = ENV.login_max_failures
LOGIN_MAX_FAILURES_PER_USER = ENV.login_max_failures_per_user
LOGIN_MAX_FAILURES_PER_ADDRESS = ENV.login_max_failures_per_address
LOGIN_LOCKOUT = timedelta(seconds=ENV.login_lockout_seconds)

REQUIRE_2FA = ENV.require_2fa
OTP_TOTP_ISSUER = "Mailrail"
OTP_ADMIN_HIDE_SENSITIVE_DATA = True

MAX_STREAMS_PER_CALLER = ENV.max_streams_per_caller
MAX_ANONYMOUS_BODY_BYTES = 64 * 1024  # of a request without a valid credential
RATE_LIMITS = {
    "key": parse_rate(ENV.rate_limit_key),
    "user": parse_rate(ENV.rate_limit_user),
    "anonymous": parse_rate(ENV.rate_limit_anonymous),
    "login": parse_rate(ENV.rate_limit_login),
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = ENV.ensure_data_dir() / "static"
STATIC_ROOT.mkdir(exist_ok=True)

X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENV.has_tls
SESSION_ENGINE = "project.accounts.session_store"
SESSION_MAX_AGE, SESSION_IDLE_TIMEOUT = ENV.session_max_age, ENV.session_idle_timeout
SESSION_COOKIE_AGE = int(SESSION_MAX_AGE.total_seconds())
# Browsers accept a cookie whose name starts with __Host- only from this host and over TLS. So another host of the domain, or an
# attacker on the network, cannot plant one.
COOKIE_PREFIX = "__Host-" if ENV.has_tls else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid", f"{COOKIE_PREFIX}csrftoken"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # Django's default uses a third cookie
LOGIN_URL, LOGIN_REDIRECT_URL = (
    "admin:login",
    "admin:index",
)  # Django redirects here if `next` is missing or leads to another host
API_DOCS = ENV.api_docs
SECURE_HSTS_SECONDS = YEAR if ENV.has_tls else 0
# Django's debug pages use inline scripts and styles.
_inline = {"script_src": "'self' 'unsafe-inline'", "style_src": "'self' 'unsafe-inline'"} if DEBUG else {}
SECURITY_HEADERS = security_headers(content_security_policy(**_inline))
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS is for this host only: its subdomains may belong to other services
    "security.W021",
]

_redacts_logs = _email_backend != MAILBOX_BACKEND  # with the embedded mailbox, emails cannot leave this machine
_formatters: dict[str, dict[str, Any]] = {
    "text": {
        "()": "project.config.log_redaction.RedactingFormatter" if _redacts_logs else "logging.Formatter",
        "format": "%(asctime)s %(levelname)-8s %(name)s: %(message)s",
    },
    "json": {"()": "project.config.json_logs.create_json_formatter", "redacts": _redacts_logs},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {ENV.log_format: _formatters[ENV.log_format]},  # only one, because all would be imported
    "filters": {"database_outage": {"()": "project.bridge.database.outage_log.DatabaseOutageFilter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": ENV.log_format, "filters": ["database_outage"]}},
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "asyncio": {"level": "WARNING"},
        # channels_redis logs a traceback every second while Redis is unavailable. Instead,
        # project.bridge.notifications.cross_process logs the outage once.
        "channels_redis": {"level": "CRITICAL"},
    },
}
