from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [("incompatible", "0003_dropped_column")]

    operations = [migrations.RenameField("parcel", "weight", "grams")]
