"""The API keys in the admin: made, rotated and revoked. A key is in the answer that made it, and nowhere else."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Field, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import slugify

from project.accounts.models import User
from project.admin.input_guard import RestrictedLookupsAdmin
from project.api_keys.curl_example import curl_command
from project.api_keys.forms import ApiKeyForm, RotateKeyForm, scopes_field
from project.api_keys.keys import KEY_PREFIX, KeyNotActive, revoke_key, rotate_key, save_new_key
from project.api_keys.models import ApiKey, KeyState
from project.auth.scopes import scopes_for_user
from project.bridge.database.transactions import call_in_transaction

DETAIL_FIELDS = ("name", "begins", "state", "may", "may_be_from", "mails_a_day", "created_at", "last_used_at", "expires_at")


@admin.register(ApiKey)
class ApiKeyAdmin(RestrictedLookupsAdmin):
    """Keys to make, to look at, to rotate and to revoke."""

    form = ApiKeyForm
    change_form_template = "admin/api_keys/apikey/key_detail.html"
    list_display = ("name", "begins", "state", "may", "last_used_at", "expires_at", "created_at")
    search_fields = ("name", "prefix")
    actions = ("revoke",)

    class Media:
        css = {"all": ("mailrail/admin.css", "mailrail/api_keys.css")}

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """What is asked for, or what there is to see: never a hash."""
        if obj is None:
            return ApiKeyForm.Meta.fields
        ends = {"old_secret_until": self.old_secret_until(obj), "revoked_at": obj.revoked_at}
        return (*DETAIL_FIELDS, *(name for name, end in ends.items() if end))

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """All of one that is there."""
        return self.get_fields(request, obj) if obj else ()

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """By name, or by how the key begins."""
        return super().get_search_results(request, queryset, search_term.strip().removeprefix(KEY_PREFIX))

    # Columns

    @admin.display(description="key", ordering="prefix")
    def begins(self, key: ApiKey) -> str:
        """The part that is no secret."""
        return format_html("<code>{}{}…</code>", KEY_PREFIX, key.prefix)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        """Whether it opens anything, in its colour."""
        state = key.state(timezone.now())
        return format_html('<span class="status key-{}">{}</span>', slugify(state), state)

    @admin.display(description="scopes")
    def may(self, key: ApiKey) -> str:
        """What it may do."""
        return ", ".join(key.scopes)

    @admin.display(description="allowed_senders")
    def may_be_from(self, key: ApiKey) -> str:
        """Whom its mails may be from."""
        return ", ".join(key.allowed_senders) or "anybody"

    @admin.display(description="mails a day")
    def mails_a_day(self, key: ApiKey) -> str:
        """Its quota, and what of it is used."""
        if key.daily_quota is None:
            return "any number"
        used = key.quota_used if key.quota_day == datetime.now(UTC).date() else 0
        return f"{key.daily_quota} ({used} today)"

    @admin.display(description="old secret until")
    def old_secret_until(self, key: ApiKey) -> datetime | None:
        """When the secret ends that it had before it was rotated, if that is still to come."""
        return (
            key.previous_secret_expires_at
            if key.previous_secret_expires_at and key.previous_secret_expires_at > timezone.now()
            else None
        )

    # Who may

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never: who holds a key counts on what it may do."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Never: its mails are known by it. It is revoked."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may revoke keys."""
        return request.user.has_perm("api_keys.change_apikey")

    def may_rotate(self, request: HttpRequest, key: ApiKey) -> bool:
        """Whether somebody may: it shows them a key, so they may make one, and may themselves do what it may do."""
        return self.has_add_permission(request) and scopes_for_user(cast("User", request.user)).issuperset(key.scopes)

    # Making one

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> forms.Field | None:
        """Django's, but for the scopes: those of who asks."""
        if db_field.name == "scopes":
            return scopes_field(scopes_for_user(cast("User", request.user)))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """With a secret."""
        obj.text = save_new_key(obj)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The key. It is in this answer alone: a redirect would have to carry it, or to find it kept."""
        return self.key_shown(request, obj, obj.text)

    def key_shown(self, request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
        """The page with the key, which no cache may keep (`admin_view` says so), and which shows another when it is reloaded."""
        curl = curl_command(
            f"{request.scheme}://{request.get_host()}",
            text,
            scopes=key.scopes,
            allowed_senders=key.allowed_senders,
            to=cast("User", request.user).email or "ada@example.com",
        )
        return self.page(request, "key_created", "The API key", {"key": key, "text": text, "curl": curl, "address": key_url(key)})

    # Rotating and revoking

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask, and then end them."""
        if "confirmed" not in request.POST:
            return self.page(request, "revoke", "Revoke API keys", {"keys": keys, "in_list": True})
        self.revoke_all(request, keys)
        return None

    def revoke_all(self, request: HttpRequest, keys: Iterable[ApiKey]) -> None:
        """End them, and tell who did it."""
        revoked = [key for key in keys if call_in_transaction(revoke_key, key.prefix, now=timezone.now())]
        for key in revoked:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"Revoked {len(revoked)} API key{'' if len(revoked) == 1 else 's'}.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        """With those of the buttons."""
        views = {"revoke": self.revoke_view, "rotate": self.rotate_view}
        own = [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"api_keys_apikey_{name}")
            for name, view in views.items()
        ]
        return own + super().get_urls()

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask, and then end the key of a page."""
        key = self.key_of(request, object_id)
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self.page(request, "revoke", "Revoke API key", {"key": key, "keys": [key]})
        self.revoke_all(request, [key])
        return HttpResponseRedirect(key_url(key))

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for how long the old secret is to be good, and then show the key with the new one."""
        key = self.key_of(request, object_id)
        if not self.may_rotate(request, key):
            raise PermissionDenied
        form = RotateKeyForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = {"key": key, "form": form, "old_secret_until": self.old_secret_until(key)}
            return self.page(request, "rotate", "Rotate API key", context)
        try:
            text = call_in_transaction(rotate_key, key.prefix, overlap=form.cleaned_data["overlap"], now=timezone.now())
        except KeyNotActive as refusal:
            self.message_user(request, refusal.detail, messages.WARNING)
            return HttpResponseRedirect(key_url(key))
        key.refresh_from_db()
        self.log_change(
            request, key, f"Rotated. The old secret is good until {key.previous_secret_expires_at:%Y-%m-%d %H:%M} UTC."
        )
        return self.key_shown(request, key, text)

    # Pages

    def key_of(self, request: HttpRequest, object_id: str) -> ApiKey:
        """The key that an address names."""
        key: ApiKey | None = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        return key

    def page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        """One of ours, that looks like the others."""
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, "title": title}
        return TemplateResponse(request, f"admin/api_keys/apikey/{name}.html", common | context)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Django's form, with one button to save, or those for what can be done to the key."""
        key: ApiKey | None = kwargs.get("obj")
        if key is not None and key.state(timezone.now()) is not KeyState.REVOKED:
            active = key.state(timezone.now()) is not KeyState.EXPIRED
            context |= {"may_revoke": self.has_revoke_permission(request), "may_rotate": active and self.may_rotate(request, key)}
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)


def key_url(key: ApiKey) -> str:
    """The page of a key."""
    return reverse("admin:api_keys_apikey_change", args=[quote(key.pk)])
