"""Variables of users, logins and the audit trail."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class AccountVariables(BaseSettings):
    """Variables of users, logins and the audit trail."""

    secret_key: SecretStr | None = Field(
        None, min_length=32, description="Signs sessions and access tokens, at least 32 characters. Generated on first start."
    )
    login_max_failures: int = Field(
        10,
        ge=0,
        description="Failed logins of a user from one IP address or one known device that lock further logins from there."
        " 0 disables the lockout.",
    )
    login_max_failures_per_user: int = Field(
        100,
        ge=0,
        description="Failed logins of a user from all IP addresses together that lock the user, except on known devices."
        " 0 means unlimited.",
    )
    login_max_failures_per_address: int = Field(
        100, ge=0, description="Failed logins of all users from one IP address that lock the IP address. 0 means unlimited."
    )
    login_lockout_seconds: int = Field(300, gt=0, description="Duration of the lockout, in seconds.")
    require_2fa: bool = Field(False, description="Require two-factor login for all users of the admin.")
    audit_retention_days: int = Field(400, ge=0, le=36_500, description="Days to keep audit entries. 0 means forever.")
    admin_username: str = Field("admin", min_length=1, description="Username of the first administrator, created on first start.")
    admin_password: SecretStr | None = Field(
        None, min_length=1, description="Password of the first administrator. Generated and shown once if not set."
    )
