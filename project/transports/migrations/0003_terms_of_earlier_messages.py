from email.utils import parseaddr

from django.db import migrations

from project.emails.subject_words import split_words

BATCH_SIZE = 500
MAX_TERM_LENGTH = 321


def add_terms(apps, schema_editor):
    """Add the search terms of earlier messages, in short transactions."""
    MailboxMessage, MailboxTerm = apps.get_model('transports', 'MailboxMessage'), apps.get_model('transports', 'MailboxTerm')
    messages = MailboxMessage.objects.order_by('pk').values_list('pk', 'subject', 'recipients')
    batch = list(messages[:BATCH_SIZE])
    while batch:
        terms = (MailboxTerm(term=term, message_id=pk) for pk, *fields in batch for term in _terms(*fields))
        MailboxTerm.objects.bulk_create(terms, ignore_conflicts=True)
        batch = list(messages.filter(pk__gt=batch[-1][0])[:BATCH_SIZE])


def _terms(subject, recipients):
    return [*split_words(subject), *{f'@{parseaddr(each)[1].lower()}'[:MAX_TERM_LENGTH] for each in recipients}]


def index_beginnings(apps, schema_editor):
    """Index the beginnings of terms on PostgreSQL, whose other indexes support LIKE only with the collation C."""
    if schema_editor.connection.vendor == 'postgresql':
        schema_editor.execute('DROP INDEX CONCURRENTLY IF EXISTS mailbox_term_prefix')
        columns = 'term varchar_pattern_ops, message_id'
        schema_editor.execute(f'CREATE INDEX CONCURRENTLY mailbox_term_prefix ON transports_mailboxterm ({columns})')


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('transports', '0002_mailbox_terms'),
    ]

    operations = [
        migrations.RunPython(add_terms, migrations.RunPython.noop),
        migrations.RunPython(index_beginnings, migrations.RunPython.noop),
    ]
