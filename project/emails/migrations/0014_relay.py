from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("emails", "0013_priority")]

    operations = [
        migrations.AddField(
            model_name="email",
            name="relay",
            field=models.CharField(blank=True, max_length=255, null=True),
        ),
    ]
