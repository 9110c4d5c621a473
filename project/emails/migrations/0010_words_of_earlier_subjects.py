from django.db import migrations

from project.emails.subject_words import split_words

BATCH_SIZE = 500


def add_words(apps, schema_editor):
    """Add the words of the subjects of earlier emails, in short transactions."""
    Email, SubjectWord = apps.get_model('emails', 'Email'), apps.get_model('emails', 'SubjectWord')
    emails = Email.objects.order_by('pk').values_list('pk', 'subject')
    batch = list(emails[:BATCH_SIZE])
    while batch:
        words = (SubjectWord(word=word, email_id=pk) for pk, subject in batch for word in split_words(subject))
        SubjectWord.objects.bulk_create(words, ignore_conflicts=True)
        batch = list(emails.filter(pk__gt=batch[-1][0])[:BATCH_SIZE])


def index_beginnings(apps, schema_editor):
    """Index the beginnings of addresses on PostgreSQL, whose other indexes support LIKE only with the collation C."""
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute('DROP INDEX CONCURRENTLY IF EXISTS recipient_address_prefix')
        columns = 'address varchar_pattern_ops, email_id'
        schema_editor.execute(f'CREATE INDEX CONCURRENTLY recipient_address_prefix ON emails_recipient ({columns})')


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('emails', '0009_subject_words'),
    ]

    operations = [
        migrations.RunPython(add_words, migrations.RunPython.noop),
        migrations.RunPython(index_beginnings, migrations.RunPython.noop),
    ]
