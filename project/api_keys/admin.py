"""Admin pages that create, show, rotate and revoke API keys. A key is shown only once, after it is created or rotated."""

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
from project.accounts.reauthentication import reauthenticate_first
from project.admin.input_validation import DisplayedTextAdmin, RestrictedLookupsAdmin
from project.api_keys.curl_example import curl_command
from project.api_keys.forms import ApiKeyForm, RotateKeyForm, scopes_field
from project.api_keys.keys import KEY_PREFIX, KeyNotActive, revoke_key, rotate_key, save_new_key
from project.api_keys.models import ApiKey, KeyState
from project.api_keys.quota import emails_counted_today
from project.auth.scopes import scopes_for_user
from project.bridge.database.transactions import call_in_transaction

DETAIL_FIELDS = (
    *("name", "masked_key", "status", "owner", "scope_list", "from_addresses", "emails_per_day"),
    *("created_at", "last_used_at", "expires_at"),
)


@admin.register(ApiKey)
class ApiKeyAdmin(DisplayedTextAdmin, RestrictedLookupsAdmin):
    """Creates, shows, rotates and revokes API keys."""

    form = ApiKeyForm
    change_form_template = "admin/api_keys/apikey/key_detail.html"
    list_display = ("name", "masked_key", "status", "owner", "scope_list", "last_used_at", "expires_at", "created_at")
    list_select_related = ("owner",)
    search_fields = ("name", "prefix")
    actions = ("revoke",)

    class Media:
        css = {"all": ("mailrail/admin.css", "mailrail/api_keys.css")}

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """Return the form's fields for a new key, or the fields to show for an existing key. Hashes are never shown."""
        if obj is None:
            return ApiKeyForm.Meta.fields
        optional = {"old_secret_expires_at": self.old_secret_expires_at(obj), "revoked_at": obj.revoked_at}
        return (*DETAIL_FIELDS, *(name for name, value in optional.items() if value))

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        """Return all fields of an existing key, because a key is never edited."""
        return self.get_fields(request, obj) if obj else ()

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """Search by name or by prefix, with or without `mr_`."""
        return super().get_search_results(request, queryset, search_term.strip().removeprefix(KEY_PREFIX))

    # Columns

    @admin.display(description="key", ordering="prefix")
    def masked_key(self, key: ApiKey) -> str:
        """Return the public part of the key."""
        return format_html("<code>{}{}…</code>", KEY_PREFIX, key.prefix)

    @admin.display(description="status")
    def status(self, key: ApiKey) -> str:
        """Return a colored badge with the key's state."""
        state = key.state(timezone.now())
        return format_html('<span class="status key-{}">{}</span>', slugify(state), state)

    @admin.display(description="scopes")
    def scope_list(self, key: ApiKey) -> str:
        """Return the scopes, separated by commas."""
        return ", ".join(key.scopes)

    @admin.display(description="allowed From addresses")
    def from_addresses(self, key: ApiKey) -> str:
        """Return the patterns for From addresses, separated by commas."""
        return ", ".join(key.allowed_senders) or "any"

    @admin.display(description="emails per day")
    def emails_per_day(self, key: ApiKey) -> str:
        """Return the daily quota and its use today."""
        if key.daily_quota is None:
            return "no limit"
        return f"{key.daily_quota} ({emails_counted_today(key, now=datetime.now(UTC))} used today)"

    @admin.display(description="old secret expires at")
    def old_secret_expires_at(self, key: ApiKey) -> datetime | None:
        """Return when the secret from before the last rotation expires, if that is in the future."""
        expires_at = key.previous_secret_expires_at
        return expires_at if expires_at and expires_at > timezone.now() else None

    # Permissions

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: programs rely on the scopes of their keys."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: emails refer to their key, so a key is revoked instead of deleted."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may revoke keys."""
        return request.user.has_perm("api_keys.change_apikey")

    def can_rotate(self, request: HttpRequest, key: ApiKey) -> bool:
        """Return whether the user may rotate the key. The user sees the new key, so they must be able to grant its scopes."""
        return self.has_add_permission(request) and scopes_for_user(cast("User", request.user)).issuperset(key.scopes)

    # Creating

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **kwargs: Any) -> forms.Field | None:
        """Return checkboxes for `scopes`, with the scopes that the user has, and Django's form field for any other field."""
        if db_field.name == "scopes":
            return scopes_field(scopes_for_user(cast("User", request.user)))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def changeform_view(self, request: HttpRequest, object_id: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """Show the form for a new key if the user has entered the password recently, or the page of an existing key."""
        return (reauthenticate_first(request) if object_id is None else None) or super().changeform_view(
            request, object_id, *args, **kwargs
        )

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Generate the key and save its row. The logged-in user becomes the owner."""
        obj.owner = cast("User", request.user)
        obj.plaintext = save_new_key(obj)

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Return the page with the key. With a redirect, the key would have to be in the URL or stored on the server."""
        return self.key_created_page(request, obj, obj.plaintext)

    def key_created_page(self, request: HttpRequest, key: ApiKey, plaintext: str) -> HttpResponse:
        """Return the page that shows the key once. `admin_view` forbids caching, and a reload opens the key's detail page."""
        curl = curl_command(
            f"{request.scheme}://{request.get_host()}",
            plaintext,
            scopes=key.scopes,
            allowed_senders=key.allowed_senders,
            to=cast("User", request.user).email or "ada@example.com",
        )
        context = {"key": key, "plaintext": plaintext, "curl": curl, "key_url": key_url(key)}
        return self.render_page(request, "key_created", "New API key", context)

    # Rotating and revoking

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> HttpResponse | None:
        """Ask for confirmation, then revoke the selected keys."""
        if "confirmed" not in request.POST:
            return self.render_page(request, "revoke", "Revoke API keys", {"keys": keys, "in_list": True})
        self.revoke_all(request, keys)
        return None

    def revoke_all(self, request: HttpRequest, keys: Iterable[ApiKey]) -> None:
        """Revoke the keys and log each revocation in the admin's history."""
        revoked = [key for key in keys if call_in_transaction(revoke_key, key.prefix, now=timezone.now())]
        for key in revoked:
            self.log_change(request, key, "Revoked.")
        self.message_user(request, f"Revoked {len(revoked)} API key{'' if len(revoked) == 1 else 's'}.", messages.SUCCESS)

    def get_urls(self) -> list[URLPattern]:
        """Return Django's URLs and the URLs of the revoke and rotate pages."""
        views = {"revoke": self.revoke_view, "rotate": self.rotate_view}
        own = [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"api_keys_apikey_{name}")
            for name, view in views.items()
        ]
        return own + super().get_urls()

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation, then revoke one key."""
        key = self.get_key_or_404(request, object_id)
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self.render_page(request, "revoke", "Revoke API key", {"key": key, "keys": [key]})
        self.revoke_all(request, [key])
        return HttpResponseRedirect(key_url(key))

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how long the old secret stays valid, then rotate the key and show the new key."""
        key = self.get_key_or_404(request, object_id)
        if not self.can_rotate(request, key):
            raise PermissionDenied
        if redirect_first := reauthenticate_first(request):
            return redirect_first
        form = RotateKeyForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = {"key": key, "form": form, "old_secret_expires_at": self.old_secret_expires_at(key)}
            return self.render_page(request, "rotate", "Rotate API key", context)
        try:
            plaintext = call_in_transaction(rotate_key, key.prefix, overlap=form.cleaned_data["overlap"], now=timezone.now())
        except KeyNotActive as error:
            self.message_user(request, error.detail, messages.WARNING)
            return HttpResponseRedirect(key_url(key))
        key.refresh_from_db()
        self.log_change(
            request, key, f"Rotated. The old secret is valid until {key.previous_secret_expires_at:%Y-%m-%d %H:%M} UTC."
        )
        return self.key_created_page(request, key, plaintext)

    # Pages

    def get_key_or_404(self, request: HttpRequest, object_id: str) -> ApiKey:
        """Return the key with the id from a URL. Raises `Http404`."""
        key: ApiKey | None = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        return key

    def render_page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        """Return one of this admin's own pages, with the context that the admin's base template needs."""
        common = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media, "title": title}
        return TemplateResponse(request, f"admin/api_keys/apikey/{name}.html", common | context)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return Django's form page. A new key has one save button; an existing key has the buttons Rotate and Revoke."""
        key: ApiKey | None = kwargs.get("obj")
        if key is not None and (state := key.state(timezone.now())) is not KeyState.REVOKED:
            can_rotate = state in {KeyState.ACTIVE, KeyState.EXPIRING} and self.can_rotate(request, key)
            context |= {"can_revoke": self.has_revoke_permission(request), "can_rotate": can_rotate}
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)


def key_url(key: ApiKey) -> str:
    """Return the URL of the key's detail page."""
    return reverse("admin:api_keys_apikey_change", args=[quote(key.pk)])
