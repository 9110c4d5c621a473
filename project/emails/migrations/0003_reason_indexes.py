from django.db import migrations, models

from project.bridge.database.concurrent_index import AddIndexWithoutBlocking
from project.emails.failure_reason import failure_reason

BATCH_SIZE = 500


def set_reasons(apps, schema_editor):
    """Set the reason of each email whose last attempt failed, in short transactions."""
    failed = apps.get_model('emails', 'Email').objects.filter(status__in=('delayed', 'failed', 'bounced'), reason=None)
    emails = list(failed.order_by('id')[:BATCH_SIZE])
    while emails:
        for email in emails:
            email.reason = failure_reason(_error(email), email.recipients)
        failed.model.objects.bulk_update(emails, ['reason'])
        emails = list(failed.filter(pk__gt=emails[-1].pk).order_by('id')[:BATCH_SIZE])


def _error(email):
    replies = (f"{each['smtp_code']} {each['response']}" for each in email.recipient_results.values() if each['smtp_code'])
    return next(replies, email.last_error)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('emails', '0002_reason_and_resent_from'),
    ]

    operations = [
        migrations.RunPython(set_reasons, migrations.RunPython.noop),
        AddIndexWithoutBlocking(
            model_name='email',
            index=models.Index(condition=models.Q(('reason__isnull', False)), fields=['owner', 'reason', '-id'], name='email_owner_reason'),
        ),
        AddIndexWithoutBlocking(
            model_name='email',
            index=models.Index(condition=models.Q(('reason__isnull', False)), fields=['reason', '-id'], name='email_reason'),
        ),
        AddIndexWithoutBlocking(
            model_name='email',
            index=models.Index(condition=models.Q(('resent_from__isnull', False)), fields=['resent_from'], name='email_resent_from'),
        ),
    ]
