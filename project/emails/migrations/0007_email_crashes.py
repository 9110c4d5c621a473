from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('emails', '0006_partly_sent_index'),
    ]

    operations = [
        migrations.AddField(
            model_name='email',
            name='crashes',
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        AddIndexWithoutBlocking(
            model_name='email',
            index=models.Index(condition=models.Q(('crashes__isnull', False)), fields=['status', 'next_attempt_at'], name='email_crashed'),
        ),
    ]
