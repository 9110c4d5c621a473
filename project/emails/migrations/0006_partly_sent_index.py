from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('emails', '0005_bulk_action'),
    ]

    operations = [
        AddIndexWithoutBlocking(
            model_name='email',
            index=models.Index(condition=models.Q(('reason__isnull', False), ('status', 'sent')), fields=['-id'], name='email_partly_sent'),
        ),
    ]
