from django.db import migrations, models


class Migration(migrations.Migration):
    """Create the table of outages by worker and relay. The table by worker stays: processes of the previous version use it."""

    dependencies = [("delivery", "0003_write_probe")]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("RelayOutage")]),
        migrations.CreateModel(
            name="RelayOutage",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("worker", models.CharField(max_length=32)),
                ("relay", models.CharField(blank=True, max_length=255)),
                ("started_at", models.DateTimeField()),
                ("next_probe_at", models.DateTimeField()),
                ("failures", models.PositiveIntegerField()),
                ("error", models.TextField()),
            ],
            options={"db_table": "delivery_outage"},
        ),
        migrations.AddConstraint(
            model_name="relayoutage",
            constraint=models.UniqueConstraint(fields=["worker", "relay"], name="unique_worker_relay"),
        ),
    ]
