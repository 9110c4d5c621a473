"""The admin site: login with an optional second factor, and the pages of the user's own account."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from project.accounts.account_views import reauthenticate_view, sessions_view
from project.accounts.forms import CodeForm, LoginForm
from project.accounts.known_devices import remember_device
from project.accounts.lockout import check_password, complete_attempt, lockout_of, lockout_response
from project.accounts.login_rate_limit import limit_logins
from project.accounts.models import User
from project.accounts.reauthentication import reauthenticate_first
from project.accounts.recovery_codes import count_recovery_codes
from project.accounts.two_factor import (
    INCORRECT_CODE,
    begin_setup,
    disable_with_code,
    finish_setup,
    has_any_permission,
    must_set_up_two_factor,
    pending_device,
    qr_code_svg,
    renew_recovery_codes,
    setup_key,
)

AccountView = Callable[[Any, HttpRequest, User], HttpResponse]
OTHER_SESSIONS_ENDED = "You were logged out everywhere else, and your access tokens were revoked."


class TwoFactorAdminSite(AdminSite):
    """Admin site with two-factor login. With `REQUIRE_2FA`, staff must set it up before they can open other pages."""

    site_title = site_header = "Mailrail"
    index_title = "Dashboard"
    login_form = LoginForm
    login_template = "admin/two_factor_login.html"

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may use the admin now."""
        return self.is_staff(request) and not must_set_up_two_factor(request.user)  # type: ignore[arg-type]  # never anonymous

    def is_staff(self, request: HttpRequest) -> bool:
        """Return whether the user is active staff, even if they must still set up two-factor login."""
        return super().has_permission(request)

    def may_set_up_two_factor(self, request: HttpRequest) -> bool:
        """Return whether the user may open the two-factor page: staff, and with `REQUIRE_2FA` all users with permissions."""
        user = request.user
        return self.is_staff(request) or (settings.REQUIRE_2FA and isinstance(user, User) and has_any_permission(user))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the login page, or redirect logged-in users who can only open the two-factor page to this page."""
        if request.method == "GET" and self.may_set_up_two_factor(request) and not self.has_permission(request):
            return redirect("admin:two_factor")
        if request.method != "POST":
            return super().login(request, extra_context)
        limit_logins(request, request.POST.get("username", ""))
        response = super().login(request, extra_context)
        if lockout := lockout_of(request):
            return lockout_response(request, lockout)
        if request.user.is_authenticated:
            remember_device(response, request.user.get_username())
        return response

    def account_view(self, view: AccountView) -> Callable[[HttpRequest], HttpResponse]:
        """Return a view for logged-in users, which may set up two-factor login in it, or see their sessions."""

        def view_if_logged_in(request: HttpRequest) -> HttpResponse:
            user = request.user
            if not isinstance(user, User) or not self.may_set_up_two_factor(request):
                return redirect_to_login(request.get_full_path(), reverse("admin:login"))
            return view(self, request, user)

        return never_cache(csrf_protect(view_if_logged_in))

    def password_change(  # type: ignore[override]  # the stubs only allow Django's own response
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Change the password.

        A wrong old password counts as a failed login, so a stolen session does not allow unlimited guesses.
        """
        if redirect_first := reauthenticate_first(request):
            return redirect_first
        if request.method == "POST":
            if check_password(request, request.user.get_username(), request.POST.get("old_password", "")):
                complete_attempt(request)
            if error := lockout_of(request):
                return lockout_response(request, error)
        return super().password_change(request, extra_context)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Return Django's list of apps, with the titles of the pages that the links open."""
        apps: list[Any] = super().get_app_list(request, app_label)
        for model in (model for app in apps for model in app["models"]):
            model["name"] = getattr(self._registry[model["model"]], "page_title", model["name"])
        return apps

    def get_urls(self) -> list[URLResolver | URLPattern]:
        """Return Django's URLs and the URLs of the account pages."""
        own = [
            path("two-factor/", self.account_view(TwoFactorAdminSite.two_factor_view), name="two_factor"),
            path("sessions/", self.account_view(sessions_view), name="sessions"),
            path("reauthenticate/", self.account_view(reauthenticate_view), name="reauthenticate"),
        ]
        return [*own, *super().get_urls()]

    def two_factor_view(self, request: HttpRequest, user: User) -> HttpResponse:
        """Enable two-factor login, disable it (unless required) or renew the recovery codes. Each action requires a code."""
        if redirect_first := reauthenticate_first(request):
            return redirect_first
        form = CodeForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            if response := self.handle_code(request, user, form.cleaned_data["otp"].strip()):
                return response
            form.add_error("otp", INCORRECT_CODE)
        return self.two_factor_page(request, user, form)

    def handle_code(self, request: HttpRequest, user: User, code: str) -> HttpResponse | None:
        """Finish the setup, renew the recovery codes or disable two-factor login. Return None if the code is incorrect."""
        if user.device is None:
            codes, message = finish_setup(user, code), f"Two-factor login is on. {OTHER_SESSIONS_ENDED}"
        elif "renew" in request.POST:
            codes, message = renew_recovery_codes(request, user, code), "Your previous recovery codes no longer work."
        elif settings.REQUIRE_2FA:
            raise PermissionDenied
        else:
            return self.disabled_response(request, user) if disable_with_code(request, user, code) else None
        if codes is None:
            return None
        update_session_auth_hash(request, user)  # keeps this session; all other sessions end
        messages.success(request, message)
        context = {**self.each_context(request), "title": "Recovery codes", "codes": codes}
        return TemplateResponse(request, "admin/recovery_codes.html", context)

    def disabled_response(self, request: HttpRequest, user: User) -> HttpResponse:
        """Redirect to the dashboard after two-factor login was disabled, and keep this session."""
        update_session_auth_hash(request, user)
        messages.success(request, f"Two-factor login is off. {OTHER_SESSIONS_ENDED}")
        return redirect("admin:index")

    def two_factor_page(self, request: HttpRequest, user: User, form: CodeForm) -> HttpResponse:
        """Return the page with the form. During setup, the page also shows a QR code, and each GET creates a new secret."""
        context = {**self.each_context(request), "title": "Two-factor login", "form": form, "required": settings.REQUIRE_2FA}
        if user.device is None:
            device = (form.is_bound and pending_device(user)) or begin_setup(user)
            context |= {"qr_code": qr_code_svg(device), "secret": setup_key(device)}
        else:
            context["codes_left"] = count_recovery_codes(user)
        return TemplateResponse(request, "admin/two_factor.html", context)
