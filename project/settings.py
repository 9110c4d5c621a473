"""Django's settings, made from the environment (project.env)."""

import dj_database_url

from project import env

ENV = env.read()

SECRET_KEY = ENV.signing_key
DEBUG = ENV.debug
ALLOWED_HOSTS = ENV.allowed_hosts
CSRF_TRUSTED_ORIGINS = ENV.csrf_trusted_origins
SHUTDOWN_GRACE = ENV.shutdown_grace

INSTALLED_APPS = [
    "daphne",  # first: it brings its own runserver
    "project",
    "project.accounts",
    "project.outbox",
    "channels",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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

# Under ASGI each of Django's own requests has a new thread, and so a new connection: kept ones would only pile up
# (CONN_MAX_AGE=0). The pool in project.bridge.database keeps its own.
_database_url = ENV.database_url.get_secret_value() if ENV.database_url else f"sqlite:///{ENV.data_folder / 'mailrail.sqlite3'}"
DATABASES = {"default": dj_database_url.parse(_database_url, conn_max_age=0)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # A transaction that reads and then writes must not find that another wrote in between ("database is locked").
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        # FULL: what was committed survives a power cut, in WAL mode too.
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

MAILBOX_BACKEND = "project.outbox.transports.mailbox.MailboxBackend"
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.default_from_email
EMAIL_BACKEND = ENV.email_backend or MAILBOX_BACKEND
RELAY = ENV.relay
RETRY_DELAYS = ENV.retry_delays
if ENV.relay is not None:  # for Django's own mail, too
    EMAIL_BACKEND = ENV.email_backend or "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = ENV.relay.host
    EMAIL_PORT = ENV.relay.port
    EMAIL_HOST_USER = ENV.relay.username
    EMAIL_HOST_PASSWORD = ENV.relay.password
    EMAIL_USE_TLS = ENV.relay.starttls
    EMAIL_USE_SSL = ENV.relay.implicit_tls
    EMAIL_TIMEOUT = ENV.relay.timeout

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = ENV.data_folder / "static"
STATIC_ROOT.mkdir(exist_ok=True)

X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)-8s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": ENV.log_level},
    "loggers": {
        "daphne": {"level": "WARNING"},
        "asyncio": {"level": "WARNING"},
    },
}
