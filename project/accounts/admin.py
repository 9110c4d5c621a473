"""People, in the admin; and the keys (project.accounts.key_admin)."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from project.accounts.key_admin import ApiKeyAdmin
from project.accounts.models import ApiKey, User

admin.site.register(User, UserAdmin)
admin.site.register(ApiKey, ApiKeyAdmin)
