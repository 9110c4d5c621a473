import django.db.models.deletion
from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking, RemoveForeignKeyIndexWithoutBlocking


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("emails", "0016_bulk_action_minimum"), ("mail_templates", "0001_initial")]

    operations = [
        AddIndexWithoutBlocking(
            model_name="email",
            index=models.Index(condition=models.Q(("template__isnull", False)), fields=["template"], name="email_template"),
        ),
        # Processes of the previous version use the new index, too: they look only for emails with a template.
        RemoveForeignKeyIndexWithoutBlocking(
            model_name="email",
            name="template",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                to="mail_templates.template",
            ),
        ),
    ]
