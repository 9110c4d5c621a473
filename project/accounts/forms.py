"""Forms for the password and the two-factor code."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.http import HttpRequest

from project.accounts.lockout import LockedOut
from project.accounts.models import User
from project.accounts.two_factor import TwoFactorRequired, has_any_permission, require_second_factor

CODE_LABEL = "Code from your authenticator app"
CODE_INPUT_ATTRS = {"autocomplete": "one-time-code", "inputmode": "numeric", "maxlength": "16"}


def code_field(*, required: bool) -> forms.CharField:
    """Return a field for a code from the app, or for a recovery code."""
    return forms.CharField(required=required, label=CODE_LABEL, widget=forms.TextInput(attrs=CODE_INPUT_ATTRS))


class LoginForm(AdminAuthenticationForm):
    """Django's login form with a field for the second factor."""

    request: HttpRequest  # the admin always sets it
    otp = code_field(required=False)

    def confirm_login_allowed(self, user: User) -> None:
        """Allow staff, and with `REQUIRE_2FA` all users with permissions, so that they can set up two-factor login."""
        if not (settings.REQUIRE_2FA and has_any_permission(user)):
            super().confirm_login_allowed(user)

    def clean(self) -> dict[str, Any]:
        """Check the password first, and the code only if the password is correct."""
        cleaned = super().clean()
        user = self.get_user()
        if isinstance(user, User):
            try:
                require_second_factor(self.request, user, cleaned.get("otp", "").strip())
            except (LockedOut, TwoFactorRequired) as error:
                raise forms.ValidationError(error.detail) from None
        return cleaned


class CodeForm(forms.Form):
    """Form that asks for a code from the app, or for a recovery code."""

    otp = code_field(required=True)


class ReauthenticationForm(forms.Form):
    """Form that asks a logged-in user for the password, and for the code if two-factor login is on."""

    password = forms.CharField(
        strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True})
    )
    otp = code_field(required=False)

    def __init__(self, *args: Any, needs_code: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not needs_code:
            del self.fields["otp"]
