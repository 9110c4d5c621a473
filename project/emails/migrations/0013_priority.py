from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking, RemoveIndexWithoutBlocking
from project.bridge.database.quick_column import AddFieldWithoutRebuild

NOT_NORMAL = models.Q(("priority", "normal"), _negated=True)
WAITING = models.Q(("next_attempt_at__isnull", False))


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("emails", "0012_request_id")]

    operations = [
        AddFieldWithoutRebuild(
            model_name="email",
            name="priority",
            field=models.CharField(
                choices=[("high", "high"), ("normal", "normal"), ("low", "low")],
                db_default="normal",
                default="normal",
                max_length=6,
            ),
        ),
        AddIndexWithoutBlocking(
            model_name="email",
            index=models.Index(
                condition=models.Q(("status", "queued")), fields=["priority", "owner", "id"], name="email_queued_turn"
            ),
        ),
        AddIndexWithoutBlocking(
            model_name="email",
            index=models.Index(
                condition=WAITING, fields=["status", "priority", "next_attempt_at"], name="email_due_priority"
            ),
        ),
        AddIndexWithoutBlocking(
            model_name="email",
            index=models.Index(
                condition=WAITING, fields=["status", "priority", "owner", "next_attempt_at"], name="email_due_priority_owner"
            ),
        ),
        AddIndexWithoutBlocking(
            model_name="email",
            index=models.Index(condition=NOT_NORMAL, fields=["owner", "priority", "-id"], name="email_owner_priority"),
        ),
        AddIndexWithoutBlocking(
            model_name="email",
            index=models.Index(condition=NOT_NORMAL, fields=["priority", "-id"], name="email_priority"),
        ),
        # Each is the beginning of a new index, but for the priority. Processes of the previous version then use other indexes.
        RemoveIndexWithoutBlocking(model_name="email", name="email_queued_owner"),
        RemoveIndexWithoutBlocking(model_name="email", name="email_due"),
        RemoveIndexWithoutBlocking(model_name="email", name="email_due_owner"),
    ]
