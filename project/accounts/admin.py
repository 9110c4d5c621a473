"""People, groups and devices in the admin. Staff give what they hold themselves, and act on nobody who holds more."""

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

from project.accounts.delegation import delegable_groups, manageable_users, permissions_held_by
from project.accounts.models import User
from project.admin.input_guard import RestrictedLookupsAdmin

PRIVILEGE_ERRORS = {"invalid_choice": "You can give only what you hold yourself, and only to who holds no more than you do."}


class PrivilegeBoundAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """Rows of which some are beyond who asks: these can be looked at."""

    def within(self, user: User) -> QuerySet[Any]:
        """Those that a user may change and delete."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Django's, within the bound."""
        return super().has_change_permission(request, obj) and self._is_within(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Django's, within the bound."""
        return super().has_delete_permission(request, obj) and self._is_within(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Django's, of what may be given: permissions and groups."""
        user = cast("User", request.user)
        choices = delegable_groups(user) if db_field.name == "groups" else permissions_held_by(user)
        return super().formfield_for_manytomany(
            db_field, request, **kwargs | {"queryset": choices, "error_messages": PRIVILEGE_ERRORS}
        )

    def _is_within(self, request: HttpRequest, row: Model | None) -> bool:
        return row is None or self.within(cast("User", request.user)).filter(pk=row.pk).exists()


class BoundUserAdmin(PrivilegeBoundAdmin, UserAdmin):  # type: ignore[type-arg]
    """Django's. Only a superuser makes another."""

    def within(self, user: User) -> QuerySet[User]:
        """Who holds no more."""
        return manageable_users(user)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Whether somebody is a superuser, for who is none."""
        fields = list(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else [*fields, "is_superuser"]


class BoundGroupAdmin(PrivilegeBoundAdmin, GroupAdmin):  # type: ignore[misc]  # the stubs have the request optional
    """Django's."""

    def within(self, user: User) -> QuerySet[Group]:
        """Those that hold no more."""
        return delegable_groups(user)


class BoundDeviceAdmin(RestrictedLookupsAdmin, PrivilegeBoundAdmin):
    """What a device's page has, whatever its kind: it is bounded as its user is."""

    list_filter = ("confirmed",)

    def within(self, user: User) -> QuerySet[Any]:
        """Those of who holds no more."""
        devices: QuerySet[Any] = self.model._default_manager.filter(user__in=manageable_users(user))
        return devices

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Django's: a device is given to who holds no more."""
        people = manageable_users(cast("User", request.user))
        return super().formfield_for_foreignkey(
            db_field, request, **kwargs | {"queryset": people, "error_messages": PRIVILEGE_ERRORS}
        )


class AuthenticatorAdmin(BoundDeviceAdmin, TOTPDeviceAdmin):  # type: ignore[misc]  # django-otp comes without types
    """What makes the codes."""


class RecoveryCodesAdmin(BoundDeviceAdmin, StaticDeviceAdmin):  # type: ignore[misc]
    """The codes for who has lost that."""


admin.site.unregister([Group, StaticDevice, TOTPDevice])  # Django and django-otp registered their own
admin.site.register(Group, BoundGroupAdmin)
admin.site.register(StaticDevice, RecoveryCodesAdmin)
admin.site.register(TOTPDevice, AuthenticatorAdmin)
admin.site.register(User, BoundUserAdmin)
