from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Parcel",
            fields=[("id", models.BigAutoField(primary_key=True)), ("weight", models.IntegerField()), ("size", models.IntegerField())],
        ),
    ]
