from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("incompatible", "0001_initial")]

    operations = [migrations.AddField("parcel", "color", models.CharField(max_length=20, default="red"))]
