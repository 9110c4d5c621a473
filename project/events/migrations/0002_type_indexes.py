from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('events', '0001_initial'),
    ]

    operations = [
        AddIndexWithoutBlocking(
            model_name='event',
            index=models.Index(fields=['owner', 'type', 'id'], name='event_owner_type'),
        ),
        AddIndexWithoutBlocking(
            model_name='event',
            index=models.Index(fields=['type', 'id'], name='event_type'),
        ),
    ]
