"""Form of the admin page that erases persons."""

from typing import Any

from django import forms

from project.retention.erasure import Erasure, find, normalized
from project.retention.erasure_runner import MAX_COUNTED_EMAILS

MAX_PERSONS = 50  # of one erasure
MAX_ADDRESSES_LENGTH = 20_000  # characters


class ErasureForm(forms.Form):
    """Form for the addresses, and for the phrase that confirms their erasure."""

    addresses = forms.CharField(
        label="Email addresses",
        help_text=f"One per line, at most {MAX_PERSONS}.",
        max_length=MAX_ADDRESSES_LENGTH,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 40, "spellcheck": "false", "autocomplete": "off"}),
    )
    with_suppression = forms.BooleanField(
        label="Also remove the addresses from the suppression list",
        help_text="These people could then get emails again.",
        required=False,
    )
    confirmation = forms.CharField(
        label="Confirmation", required=False, max_length=400, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )

    def clean_addresses(self) -> list[str]:
        """Return the normalized addresses, without duplicates. Raises `ValidationError` with each line that is no address."""
        addresses, errors = [], []
        for line in filter(None, map(str.strip, self.cleaned_data["addresses"].splitlines())):
            try:
                addresses.append(normalized(line))
            except ValueError as error:
                errors.append(f"{line}: {error}")
        unique = list(dict.fromkeys(addresses))
        if len(unique) > MAX_PERSONS:
            errors.append(f"Enter at most {MAX_PERSONS} addresses.")
        if errors:
            raise forms.ValidationError(errors)
        return unique

    @property
    def phrase(self) -> str:
        """Return the text that the user has to type: the address, or the number of people."""
        addresses = self.cleaned_data["addresses"]
        return str(addresses[0]) if len(addresses) == 1 else f"erase {len(addresses)} people"

    @property
    def is_confirmed(self) -> bool:
        """Return whether the user has typed the phrase."""
        typed: str = self.cleaned_data["confirmation"]
        return typed.strip().lower() == self.phrase

    def preview(self) -> list[dict[str, Any]]:
        """Return for each address what would be erased."""
        return [self._preview_of(address) for address in self.cleaned_data["addresses"]]

    def _preview_of(self, address: str) -> dict[str, Any]:
        found = find(address, max_emails=MAX_COUNTED_EMAILS)
        return {
            "address": address,
            "found": found,
            "is_partial": found.emails >= MAX_COUNTED_EMAILS,
            "erases": self._erases(found),
        }

    def _erases(self, found: Erasure) -> bool:
        suppressions = found.suppressions if self.cleaned_data["with_suppression"] else 0
        return bool(found.deleted or found.anonymized or found.mailbox_messages or suppressions)
