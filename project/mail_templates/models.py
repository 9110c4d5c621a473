"""Email templates and their versions."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class Template(models.Model):
    """One version of a Liquid template. Never changed: an edit creates the next version, so emails keep the version they used."""

    slug = models.SlugField(max_length=100)
    version = models.PositiveIntegerField()
    is_current = models.BooleanField(default=True)  # False for all versions of a deleted template
    subject = models.CharField(max_length=998, blank=True)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["slug", "-version"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["slug", "version"], name="unique_slug_version"),
            models.UniqueConstraint(fields=["slug"], condition=models.Q(is_current=True), name="unique_current_slug"),
        ]

    def __str__(self) -> str:
        return f"{self.slug}, version {self.version}"
