from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("incompatible", "0004_renamed_column")]

    operations = [migrations.AddIndex("parcel", models.Index(fields=["color"], name="parcel_color"))]
