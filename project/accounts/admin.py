"""People, groups and devices, in the admin (project.accounts.staff_admin); and the keys (project.accounts.key_admin)."""

from django.contrib import admin
from django.contrib.auth.models import Group
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from project.accounts.key_admin import ApiKeyAdmin
from project.accounts.models import ApiKey, User
from project.accounts.staff_admin import AppAdmin, GroupsAdmin, PeopleAdmin, RecoveryCodesAdmin

admin.site.unregister([Group, StaticDevice, TOTPDevice])  # others registered them as they were imported
admin.site.register(Group, GroupsAdmin)
admin.site.register(StaticDevice, RecoveryCodesAdmin)
admin.site.register(TOTPDevice, AppAdmin)
admin.site.register(User, PeopleAdmin)
admin.site.register(ApiKey, ApiKeyAdmin)
