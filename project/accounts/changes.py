"""That somebody's credentials may have changed: a key, a person, a session. Open sockets ask again then."""

from typing import Any

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from project.accounts.models import ApiKey, User
from project.bridge.listeners import Listeners

changed = Listeners()  # told on any thread, once it is committed


@receiver([post_save, post_delete], sender=ApiKey)
@receiver([post_save, post_delete], sender=User)
@receiver([post_delete], sender=Session)
def _tell(**_kwargs: Any) -> None:
    transaction.on_commit(changed.tell, robust=True)
