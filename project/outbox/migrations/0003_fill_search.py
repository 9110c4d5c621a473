"""The mails that are there become findable by recipient and by tag."""

from itertools import islice

from django.db import migrations

AT_ONCE = 1000


def fill(apps, _editor):
    Email, Recipient, Tag = (apps.get_model("outbox", name) for name in ("Email", "Recipient", "Tag"))
    emails = Email.objects.order_by("id").values_list("id", "recipients", "tags").iterator(AT_ONCE)
    while rows := list(islice(emails, AT_ONCE)):
        Recipient.objects.bulk_create(Recipient(address=address, email_id=id) for id, to, _ in rows for address in dict.fromkeys(to))
        Tag.objects.bulk_create(Tag(key=key, value=value, email_id=id) for id, _, tags in rows for key, value in tags.items())


class Migration(migrations.Migration):
    dependencies = [("outbox", "0002_suppressions_templates_search")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
