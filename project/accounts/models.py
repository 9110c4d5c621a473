"""People, and the keys of programs."""

from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone


class User(AbstractUser):
    """Somebody who signs in. Django's own user; a model of ours so that it can grow."""


class ApiKey(models.Model):
    """What a program calls with. The secret itself is nowhere: see project.accounts.keys."""

    name = models.CharField(max_length=100)
    public = models.CharField(max_length=8, unique=True)
    hashed = models.CharField(max_length=64)
    scopes = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(null=True, blank=True)  # to the minute
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["name"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.name
