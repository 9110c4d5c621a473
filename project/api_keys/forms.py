"""Admin forms to create and rotate an API key."""

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

from django import forms
from django.contrib.admin.widgets import AdminDateWidget
from django.utils import timezone
from django.utils.html import format_html

from project.api_keys.keys import validate_expiry
from project.api_keys.models import ApiKey
from project.auth.scopes import SCOPES
from project.auth.sender_patterns import normalize_pattern

ROTATION_OVERLAPS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7), "0": timedelta()}
_OVERLAP_LABELS = {"1h": "For 1 hour", "24h": "For 24 hours", "7d": "For 7 days", "0": "No, revoke it immediately"}


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Form to create an API key. The admin supplies the scopes field, because the choices depend on the user."""

    allowed_senders = forms.CharField(
        required=False,
        label="Allowed From addresses",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 40, "spellcheck": "false", "class": "key-senders"}),
        help_text="One per line: an address, *@example.com or *@*.example.com. Leave empty for any.",
    )
    expires_at = forms.DateField(
        required=False,
        label="Expires",
        widget=AdminDateWidget(attrs={"autocomplete": "off"}),
        help_text="The last day on which the key is valid. Leave empty for no expiration.",
    )

    daily_quota = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        label="Emails per day",
        help_text="The limit per UTC day. Each email of a batch counts. Leave empty for no limit.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "allowed_senders", "expires_at", "daily_quota")

    def clean_allowed_senders(self) -> list[str]:
        """Return the normalized patterns, sorted."""
        lines = [line for line in self.cleaned_data["allowed_senders"].splitlines() if line.strip()]
        try:
            return sorted({normalize_pattern(line) for line in lines})
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean_expires_at(self) -> datetime | None:
        """Return the end of the selected day."""
        day: date | None = self.cleaned_data["expires_at"]
        if day is None:
            return None
        last_moment = timezone.make_aware(datetime.combine(day, time.max))  # not midnight, which is out of range after 9999-12-31
        try:
            validate_expiry(last_moment, now=timezone.now())
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        return last_moment + timedelta(microseconds=1)


class RotateKeyForm(forms.Form):
    """Form to rotate an API key. It asks how long the old secret stays valid."""

    overlap = forms.ChoiceField(
        choices=list(_OVERLAP_LABELS.items()),
        initial="24h",
        label="Keep the old secret valid?",
        widget=forms.RadioSelect,
    )

    def clean_overlap(self) -> timedelta:
        """Return the selected overlap."""
        return ROTATION_OVERLAPS[self.cleaned_data["overlap"]]


def scopes_field(allowed: Iterable[str]) -> forms.MultipleChoiceField:
    """Return a field with one checkbox for each scope that the user may grant."""
    allowed = set(allowed)
    choices = [
        (scope, format_html("<code>{}</code> {}", scope, description))
        for scope, description in SCOPES.items()
        if scope in allowed
    ]
    return forms.MultipleChoiceField(
        choices=choices, widget=forms.CheckboxSelectMultiple, help_text="You can only grant scopes that you have."
    )
