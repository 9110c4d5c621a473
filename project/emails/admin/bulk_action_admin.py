"""The list of bulk actions, which leads back to the progress of each."""

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from project.admin.read_only import ReadOnlyAdmin
from project.emails.admin.actions import ACTIONS
from project.emails.models import BulkAction


@admin.register(BulkAction)
class BulkActionAdmin(ReadOnlyAdmin):
    """Lists actions on all emails that matched a filter. Users who may view emails may also view this list."""

    list_display = ("progress_link", "state", "matched", "changed", "user", "created_at", "finished_at")
    list_display_links = None
    list_select_related = ("user",)
    page_title = "Bulk actions"

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the list is shown in the menu."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return whether the user may view emails."""
        return request.user.has_perm("emails.view_email")

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Return False: the rows are a record of what was done."""
        return False

    @admin.display(description="action")
    def progress_link(self, job: BulkAction) -> str:
        """Return the name of the action, as a link to its progress."""
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:emails_email_bulk_action", args=[job.pk]), ACTIONS[job.action].label
        )
