from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking
from project.emails.search_rows import complete_search_rows


def complete(apps, schema_editor):
    """Complete all rows, in short transactions."""
    email, recipient, tag = (apps.get_model('emails', name) for name in ('Email', 'Recipient', 'Tag'))
    while complete_search_rows(email=email, recipient=recipient, tag=tag):
        pass


def index(model, name, fields, **condition):
    condition = {'condition': models.Q(**condition)} if condition else {}
    return AddIndexWithoutBlocking(model_name=model, index=models.Index(fields=fields, name=name, **condition))


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('emails', '0007_email_crashes'),
    ]

    operations = [
        migrations.AddField('recipient', 'owner', models.CharField(blank=True, max_length=40, null=True)),
        migrations.AddField('tag', 'owner', models.CharField(blank=True, max_length=40, null=True)),
        # First, because they find the rows to complete.
        index('recipient', 'recipient_incomplete', ['email'], owner__isnull=True),
        index('tag', 'tag_incomplete', ['email'], owner__isnull=True),
        migrations.RunPython(complete, migrations.RunPython.noop),
        index('recipient', 'recipient_owner_address', ['owner', 'address', 'email']),
        index('tag', 'tag_owner_key_value', ['owner', 'key', 'value', 'email']),
        index('email', 'email_owner_status', ['owner', 'status', '-id']),
    ]
