"""What staff may hand on, and whom they may act on: nothing and nobody beyond what they hold themselves."""

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from project.accounts.models import User


def permissions_held_by(user: User) -> QuerySet[Permission]:
    """All permissions of a user and of their groups. A deactivated user's too: they may be activated again."""
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(Q(user=user) | Q(group__user=user)).distinct()


def delegable_groups(user: User) -> QuerySet[Group]:
    """The groups that hold no more than a user does."""
    return Group.objects.exclude(permissions__in=_permissions_not_held_by(user))


def manageable_users(user: User) -> QuerySet[User]:
    """Those who hold no more than a user does."""
    if user.is_superuser:
        return User.objects.all()
    beyond = _permissions_not_held_by(user)
    return User.objects.exclude(Q(is_superuser=True) | Q(user_permissions__in=beyond) | Q(groups__permissions__in=beyond))


def _permissions_not_held_by(user: User) -> QuerySet[Permission]:
    return Permission.objects.exclude(pk__in=permissions_held_by(user).values("pk"))
