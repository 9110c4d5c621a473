"""Delegation rules: staff can only grant permissions that they have, and cannot manage users who have more permissions."""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from project.accounts.models import User


def permissions_held_by(user: User) -> QuerySet[Permission]:
    """Return the permissions of a user and of the user's groups.

    A deactivated user's permissions are included, because the user may be activated again.
    """
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(Q(user=user) | Q(group__user=user)).distinct()


def grantable_groups(user: User) -> QuerySet[Group]:
    """Return the groups that have no permission beyond those of the user."""
    return Group.objects.exclude(permissions__in=_permissions_not_held_by(user))


def manageable_users(user: User) -> QuerySet[User]:
    """Return the users who have no permission beyond those of `user`."""
    if user.is_superuser:
        return User.objects.all()
    missing = _permissions_not_held_by(user)
    return User.objects.exclude(Q(is_superuser=True) | Q(user_permissions__in=missing) | Q(groups__permissions__in=missing))


def _permissions_not_held_by(user: User) -> QuerySet[Permission]:
    return Permission.objects.exclude(pk__in=permissions_held_by(user).values("pk"))
