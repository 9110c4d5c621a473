"""What the admin asks for when a key is made or rotated."""

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
_OVERLAP_LABELS = {"1h": "for an hour", "24h": "for a day", "7d": "for a week", "0": "no more, from now on"}


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """A key to be made. Its scopes are the admin's to offer: they depend on who asks."""

    allowed_senders = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 40, "spellcheck": "false", "class": "key-senders"}),
        help_text="Whom its mails may be from, one a line: an address, *@example.com, or *@*.example.com. Anybody, if empty.",
    )
    expires_at = forms.DateField(
        required=False,
        label="Expires",
        widget=AdminDateWidget(attrs={"autocomplete": "off"}),
        help_text="The last day on which it is good. Never, if empty.",
    )

    daily_quota = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=2**31 - 1,
        label="Mails a day",
        help_text="How many it may send from midnight to midnight (UTC); each of a batch counts. Any number, if empty.",
    )

    class Meta:
        model = ApiKey
        fields = ("name", "scopes", "allowed_senders", "expires_at", "daily_quota")

    def clean_allowed_senders(self) -> list[str]:
        """The patterns in their normal form."""
        lines = [line for line in self.cleaned_data["allowed_senders"].splitlines() if line.strip()]
        try:
            return sorted({normalize_pattern(line) for line in lines})
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def clean_expires_at(self) -> datetime | None:
        """The end of the day."""
        day: date | None = self.cleaned_data["expires_at"]
        if day is None:
            return None
        last = timezone.make_aware(datetime.combine(day, time.max))  # midnight after the last day of all is no time
        try:
            validate_expiry(last, now=timezone.now())
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        return last + timedelta(microseconds=1)


class RotateKeyForm(forms.Form):
    """How long the old secret stays good."""

    overlap = forms.ChoiceField(
        choices=list(_OVERLAP_LABELS.items()), initial="24h", label="The old secret is good", widget=forms.RadioSelect
    )

    def clean_overlap(self) -> timedelta:
        """As a time."""
        return ROTATION_OVERLAPS[self.cleaned_data["overlap"]]


def scopes_field(allowed: Iterable[str]) -> forms.MultipleChoiceField:
    """A box for each scope that somebody may give."""
    allowed = set(allowed)
    choices = [(scope, format_html("<code>{}</code> {}", scope, told)) for scope, told in SCOPES.items() if scope in allowed]
    return forms.MultipleChoiceField(
        choices=choices,
        widget=forms.CheckboxSelectMultiple,
        help_text="What it may do. You can give what you may do yourself.",
    )
