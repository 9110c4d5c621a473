from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [("incompatible", "0002_required_column")]

    operations = [migrations.RemoveField("parcel", "size")]
