"""Types of environment variables."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
CommaSeparated = Annotated[list[str], NoDecode]  # text with commas, not JSON
