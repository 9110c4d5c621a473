from django.db import migrations, models

from project.bridge.database.quick_column import AddFieldWithoutRebuild


class Migration(migrations.Migration):
    dependencies = [("emails", "0015_trace_parent")]

    operations = [
        AddFieldWithoutRebuild(
            model_name="bulkaction",
            name="may_match_more",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
