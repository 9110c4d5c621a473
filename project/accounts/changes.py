"""That somebody's credentials may have changed: a key, a person, what they may do, a session. Open sockets ask again then."""

from typing import Any

from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver

from project.accounts.models import ApiKey, User
from project.bridge.listeners import Listeners

changed = Listeners()  # told on any thread, once it is committed


@receiver([post_save, post_delete], sender=ApiKey)
@receiver([post_save, post_delete], sender=User)
@receiver([post_delete], sender=Session)
@receiver([m2m_changed], sender=User.user_permissions.through)
@receiver([m2m_changed], sender=User.groups.through)
@receiver([m2m_changed], sender=Group.permissions.through)
@receiver([post_delete], sender=Group)
def _tell(**_kwargs: Any) -> None:
    transaction.on_commit(changed.tell, robust=True)
