from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_expiry_senders_rotation'),
    ]

    operations = [
        migrations.AddField(
            model_name='apikey',
            name='daily_quota',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='apikey',
            name='quota_day',
            field=models.DateField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='apikey',
            name='quota_used',
            field=models.PositiveIntegerField(default=0),
        ),
    ]
