"""The events that are there become their callers' own."""

from django.db import migrations
from django.db.models import OuterRef, Subquery


def fill(apps, _editor):
    Email, Event = (apps.get_model("outbox", name) for name in ("Email", "Event"))
    Event.objects.update(caller=Subquery(Email.objects.filter(id=OuterRef("email_id")).values("caller")[:1]))


class Migration(migrations.Migration):
    dependencies = [("outbox", "0005_event_caller")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
