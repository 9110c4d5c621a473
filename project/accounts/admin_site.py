"""The admin's site: two-factor login, and the page where it is set up."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import auth, messages
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.cache import never_cache

from project.accounts.lockout import LockedOut, lockout_response, require_unlocked
from project.accounts.models import User
from project.accounts.recovery_codes import count_recovery_codes
from project.accounts.two_factor import (
    TwoFactorRequired,
    begin_setup,
    disable_with_code,
    finish_setup,
    must_set_up_two_factor,
    pending_device,
    qr_code_svg,
    renew_recovery_codes,
    require_second_factor,
    setup_key,
)

CODE_INPUT = {"autocomplete": "one-time-code", "inputmode": "numeric", "maxlength": "16"}
OTHER_SESSIONS_ENDED = "Your other sessions and tokens have ended."


class LoginForm(AdminAuthenticationForm):
    """Django's, and the code of who has two-factor login."""

    request: HttpRequest  # the admin always gives it
    otp = forms.CharField(required=False, label="Code from your app", widget=forms.TextInput(attrs=CODE_INPUT))

    def clean(self) -> dict[str, Any]:
        """The password first: nothing is told about a code before."""
        cleaned = super().clean()
        user = self.get_user()
        if isinstance(user, User):
            try:
                require_second_factor(self.request, user, cleaned.get("otp", "").strip())
            except (LockedOut, TwoFactorRequired) as refusal:
                raise forms.ValidationError(refusal.detail) from None
        return cleaned


class CodeForm(forms.Form):
    """A code, to show that one has the app."""

    otp = forms.CharField(label="Code from your app", widget=forms.TextInput(attrs=CODE_INPUT))


class TwoFactorAdminSite(AdminSite):
    """Everybody may have two-factor login; with `REQUIRE_2FA`, who has none sees only the page where it is set up."""

    site_title = site_header = "Mailrail"
    index_title = "Back office"
    login_form = LoginForm
    login_template = "admin/two_factor_login.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Whether somebody may enter."""
        return self.is_staff(request) and not must_set_up_two_factor(request.user)  # type: ignore[arg-type]  # staff is somebody

    def is_staff(self, request: HttpRequest) -> bool:
        """Whether somebody may enter, or might with two-factor login."""
        return super().has_permission(request)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's, which sends who is signed in and lacks nothing but two-factor login to set that up."""
        if request.method == "GET" and self.is_staff(request) and not self.has_permission(request):
            return redirect("admin:two_factor")
        return super().login(request, extra_context)

    def password_change(  # type: ignore[override]  # the stubs know no answer but Django's own page
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's. A wrong old password is a failed login: who has come by a session has not as many guesses as they like."""
        if request.method == "POST":
            username = request.user.get_username()
            auth.authenticate(request, username=username, password=request.POST.get("old_password", ""))
            try:
                require_unlocked(request, username)
            except LockedOut:
                return lockout_response(request)
        return super().password_change(request, extra_context)

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """With the page where two-factor login is set up."""
        return [path("two-factor/", never_cache(self.two_factor_view), name="two_factor"), *super().get_urls()]

    def two_factor_view(self, request: HttpRequest) -> HttpResponse:
        """Turn two-factor login on or, if it is not required, off; or make new recovery codes. All of it needs a code."""
        user = request.user
        if not isinstance(user, User) or not self.is_staff(request):
            return redirect_to_login(request.get_full_path(), reverse("admin:login"))
        form = CodeForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            if answer := self.answer_to_code(request, user, form.cleaned_data["otp"].strip()):
                return answer
            form.add_error("otp", "The code is wrong, or was used before. After a wrong one, wait a moment.")
        return self.two_factor_page(request, user, form)

    def answer_to_code(self, request: HttpRequest, user: User, code: str) -> HttpResponse | None:
        """Take the device that was begun, make recovery codes, or let go of the device. None if the code is wrong."""
        if user.device is None:
            codes, told = finish_setup(user, code), f"Two-factor login is on. {OTHER_SESSIONS_ENDED}"
        elif "renew" in request.POST:
            codes, told = renew_recovery_codes(request, user, code), "The recovery codes that you had are good no more."
        elif settings.REQUIRE_2FA:
            raise PermissionDenied
        else:
            return self.turned_off(request, user) if disable_with_code(request, user, code) else None
        if codes is None:
            return None
        update_session_auth_hash(request, user)  # this session goes on, all others end
        messages.success(request, told)
        context = {**self.each_context(request), "title": "Recovery codes", "codes": codes}
        return TemplateResponse(request, "admin/recovery_codes.html", context)

    def turned_off(self, request: HttpRequest, user: User) -> HttpResponse:
        """Say so. This session goes on, too."""
        update_session_auth_hash(request, user)
        messages.success(request, f"Two-factor login is off. {OTHER_SESSIONS_ENDED}")
        return redirect("admin:index")

    def two_factor_page(self, request: HttpRequest, user: User, form: CodeForm) -> HttpResponse:
        """What there is to do, and the picture to scan: of a new secret each time that the page is asked for."""
        context = {**self.each_context(request), "title": "Two-factor login", "form": form, "required": settings.REQUIRE_2FA}
        if user.device is None:
            device = (form.is_bound and pending_device(user)) or begin_setup(user)
            context |= {"qr_code": qr_code_svg(device), "secret": setup_key(device)}
        else:
            context["codes_left"] = count_recovery_codes(user)
        return TemplateResponse(request, "admin/two_factor.html", context)
