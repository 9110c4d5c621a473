"""People, groups and devices in the admin. Staff give what they hold themselves, and act on nobody who holds more."""

from typing import Any, cast

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django_otp.plugins.otp_static.admin import StaticDeviceAdmin
from django_otp.plugins.otp_totp.admin import TOTPDeviceAdmin

from project.accounts.bounds import groups_within, held_by, people_within
from project.accounts.models import User

BEYOND = {"invalid_choice": "You can give only what you hold yourself, and only to who holds no more than you do."}


class Bounded(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
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
        choices = groups_within(user) if db_field.name == "groups" else held_by(user)
        return super().formfield_for_manytomany(db_field, request, **kwargs | {"queryset": choices, "error_messages": BEYOND})

    def _is_within(self, request: HttpRequest, row: Model | None) -> bool:
        return row is None or self.within(cast("User", request.user)).filter(pk=row.pk).exists()


class PeopleAdmin(Bounded, UserAdmin):  # type: ignore[type-arg]
    """Django's. Only a superuser makes another."""

    def within(self, user: User) -> QuerySet[User]:
        """Who holds no more."""
        return people_within(user)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        """Whether somebody is a superuser, for who is none."""
        fields = list(super().get_readonly_fields(request, obj))
        return fields if request.user.is_superuser else [*fields, "is_superuser"]


class GroupsAdmin(Bounded, GroupAdmin):  # type: ignore[misc]  # the stubs have the request optional
    """Django's."""

    def within(self, user: User) -> QuerySet[Group]:
        """Those that hold no more."""
        return groups_within(user)


class NoLookups(admin.ModelAdmin):  # type: ignore[type-arg]
    """A list of rows that hold secrets: it answers to its own filters, or a secret could be guessed from what it leaves out."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Whether a filter of the list asks so."""
        return lookup.partition("__")[0] in self.list_filter


class DeviceAdmin(NoLookups, Bounded):
    """What a device's page has, whatever its kind: it is bounded as its user is."""

    list_filter = ("confirmed",)

    def within(self, user: User) -> QuerySet[Any]:
        """Those of who holds no more."""
        devices: QuerySet[Any] = self.model._default_manager.filter(user__in=people_within(user))
        return devices

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Django's: a device is given to who holds no more."""
        people = people_within(cast("User", request.user))
        return super().formfield_for_foreignkey(db_field, request, **kwargs | {"queryset": people, "error_messages": BEYOND})


class AppAdmin(DeviceAdmin, TOTPDeviceAdmin):  # type: ignore[misc]  # django-otp comes without types
    """What makes the codes."""


class RecoveryCodesAdmin(DeviceAdmin, StaticDeviceAdmin):  # type: ignore[misc]
    """The codes for who has lost that."""
