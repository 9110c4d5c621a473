"""Admin pages of users, groups and two-factor devices.

Staff cannot grant permissions that they lack, or manage users who have more permissions than they do.
"""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_otp.plugins.otp_static.admin import StaticDeviceAdmin
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.admin import TOTPDeviceAdmin
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.delegation import grantable_groups, manageable_users, permissions_held_by
from project.accounts.models import User
from project.accounts.reauthentication import ReauthenticationAdmin, reauthenticate_first
from project.admin.input_validation import DisplayedTextAdmin, RestrictedLookupsAdmin

PRIVILEGE_ERRORS = {
    "invalid_choice": "You can only grant permissions that you have, and only to users who have no permission beyond yours."
}


class PrivilegeRestrictedAdmin(DisplayedTextAdmin, ReauthenticationAdmin):
    """Admin that makes rows beyond the user's own privileges read-only."""

    def manageable_by(self, user: User) -> QuerySet[Any]:
        """Return the rows that the user may change and delete."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user has Django's permission to change rows, and the row is manageable."""
        return super().has_change_permission(request, obj) and self._is_manageable(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user has Django's permission to delete rows, and the row is manageable."""
        return super().has_delete_permission(request, obj) and self._is_manageable(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return Django's field, limited to the permissions or groups that the user may grant."""
        user = cast("User", request.user)
        choices = grantable_groups(user) if db_field.name == "groups" else permissions_held_by(user)
        return super().formfield_for_manytomany(
            db_field, request, **kwargs | {"queryset": choices, "error_messages": PRIVILEGE_ERRORS}
        )

    def _is_manageable(self, request: HttpRequest, row: Model | None) -> bool:
        return row is None or self.manageable_by(cast("User", request.user)).filter(pk=row.pk).exists()


class RestrictedUserAdmin(PrivilegeRestrictedAdmin, UserAdmin):  # type: ignore[type-arg]
    """Django's user admin. Only a superuser can make another user a superuser."""

    def manageable_by(self, user: User) -> QuerySet[User]:
        """Return the users who have no permission beyond those of `user`."""
        return manageable_users(user)

    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Set the password of a user, if the logged-in user has entered their own password recently."""
        return reauthenticate_first(request) or super().user_change_password(request, *args, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Return Django's read-only fields, and also `is_superuser` if the logged-in user is not a superuser."""
        fields = list(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else [*fields, "is_superuser"]


class RestrictedGroupAdmin(PrivilegeRestrictedAdmin, GroupAdmin):  # type: ignore[misc]  # the stubs make the request optional
    """Django's group admin."""

    def manageable_by(self, user: User) -> QuerySet[Group]:
        """Return the groups that have no permission beyond those of the user."""
        return grantable_groups(user)


class RestrictedDeviceAdmin(RestrictedLookupsAdmin, PrivilegeRestrictedAdmin):
    """Base class of both device admins. A device is manageable if its user is manageable."""

    list_filter = ("confirmed",)

    def manageable_by(self, user: User) -> QuerySet[Any]:
        """Return the devices of users who have no permission beyond those of `user`."""
        devices: QuerySet[Any] = self.model._default_manager.filter(user__in=manageable_users(user))
        return devices

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return Django's field, limited to users who have no permission beyond those of the logged-in user."""
        users = manageable_users(cast("User", request.user))
        return super().formfield_for_foreignkey(
            db_field, request, **kwargs | {"queryset": users, "error_messages": PRIVILEGE_ERRORS}
        )


class AuthenticatorAdmin(RestrictedDeviceAdmin, TOTPDeviceAdmin):  # type: ignore[misc]  # django-otp has no types
    """Admin of users' authenticator apps."""

    page_title = "Authenticator apps"


class RecoveryCodesAdmin(RestrictedDeviceAdmin, StaticDeviceAdmin):  # type: ignore[misc]
    """Admin of users' recovery codes."""

    page_title = "Recovery codes"


admin.site.unregister([Group, StaticDevice, TOTPDevice])  # registered by Django and django-otp
admin.site.register(Group, RestrictedGroupAdmin)
admin.site.register(StaticDevice, RecoveryCodesAdmin)
admin.site.register(TOTPDevice, AuthenticatorAdmin)
admin.site.register(User, RestrictedUserAdmin)
